# expect: none
"""LBFGS with a closure that clears the gradients first."""
import torch

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.linspace(-3, 3, 200).unsqueeze(1)
y = torch.sin(2 * x) + 0.05 * torch.randn_like(x)
model = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=8)


def closure():
    optimizer.zero_grad()
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    return loss


for step in range(15):
    optimizer.step(closure)

with torch.no_grad():
    print(f"final loss {((model(x) - y) ** 2).mean().item():.4f}")
