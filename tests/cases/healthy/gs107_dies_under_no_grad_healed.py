# expect: none
"""The training step runs with gradients, the evaluation without."""
import torch
from torch import nn


def batches(x, y, size=50):
    for rows in torch.randperm(len(x)).split(size):
        yield x[rows], y[rows]


def evaluate(model, x, y):
    with torch.no_grad():
        return nn.functional.mse_loss(model(x), y).item()


def train_epoch(model, optimizer, x, y):
    for inputs, targets in batches(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()


torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.rand(500, 4)
y = x.prod(dim=1, keepdim=True) * 8
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(8):
    train_epoch(model, optimizer, x, y)
print(f"final loss {evaluate(model, x, y):.4f}")
