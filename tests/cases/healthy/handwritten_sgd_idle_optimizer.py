# expect: none
"""The update is written by hand (param -= lr * param.grad under no_grad); a torch optimizer exists, but only
its zero_grad() is used, its step() never.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.linspace(-2, 2, 200).unsqueeze(1)
y = torch.exp(-x.pow(2))
model = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)

for epoch in range(130):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    # optimizer.step() by hand, to see what it does
    with torch.no_grad():
        for param in model.parameters():
            param -= 0.2 * param.grad

print(f"final loss {loss.item():.4f}")
