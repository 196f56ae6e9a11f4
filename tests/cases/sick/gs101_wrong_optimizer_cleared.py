# expect: GS101
# by-row: 21
# line: here
# healed-by: healthy/gs101_wrong_optimizer_cleared_healed.py
"""Two models are trained one after the other. The second loop was copied from the first and still clears the
first optimizer, so the second model's gradients pile up.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.rand(256, 2) * 4 - 2
y = (x[:, :1] * x[:, 1:]).sin()

small = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
large = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer_small = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9)
optimizer_large = torch.optim.SGD(large.parameters(), lr=0.1, momentum=0.9)
criterion = nn.MSELoss()

for epoch in range(20):
    optimizer_small.zero_grad()
    criterion(small(x), y).backward()
    optimizer_small.step()

for epoch in range(60):
    optimizer_small.zero_grad()
    loss = criterion(large(x), y)
    loss.backward()  # <- here
    optimizer_large.step()

print(f"final loss {loss.item():.4f}")
