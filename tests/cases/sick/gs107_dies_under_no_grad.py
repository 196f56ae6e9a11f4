# expect: GS107
# by-row: 1
# exit: 1
# line: here
# healed-by: healthy/gs107_dies_under_no_grad_healed.py
"""The training step runs inside torch.no_grad(), left over from the evaluation function it was copied from:
backward() dies at once.
"""
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
        with torch.no_grad():
            loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()  # <- here
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
