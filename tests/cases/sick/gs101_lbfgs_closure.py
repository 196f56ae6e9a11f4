# expect: GS101
# by-row: 1
# line: here
# healed-by: healthy/gs101_lbfgs_closure_healed.py
"""LBFGS with a closure that does not clear the gradients: each evaluation returns the sum of all earlier ones,
and the curvature estimate is built on nonsense.
"""
import torch

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.linspace(-3, 3, 200).unsqueeze(1)
y = torch.sin(2 * x) + 0.05 * torch.randn_like(x)
model = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=8)


def closure():
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()  # <- here
    return loss


for step in range(15):
    optimizer.step(closure)

with torch.no_grad():
    print(f"final loss {((model(x) - y) ** 2).mean().item():.4f}")
