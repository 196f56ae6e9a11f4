# expect: none
"""Gradient accumulation whose last, incomplete window is thrown away: each epoch begins with a zero_grad() that
clears gradients which no step has used.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(550, 6)
y = x[:, :1].abs() - x[:, 1:2]
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
accumulate = 3

for epoch in range(8):
    optimizer.zero_grad()
    for i, rows in enumerate(torch.randperm(550).split(50)):
        loss = (model(x[rows]) - y[rows]).square().mean()
        (loss / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()

print(f"final loss {loss.item():.4f}")
