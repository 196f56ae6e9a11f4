# expect: none
"""Gradient accumulation where the gradients are cleared (to zeros, set_to_none=False) at the head of each
window, so the used gradients lie around until the next window begins.
"""
import torch
from torch import nn


def micro_batches(x, y, size):
    rows = torch.randperm(len(x))
    for part in rows.split(size):
        yield x[part], y[part]


def train_epoch(model, optimizer, x, y, accumulate):
    for i, (inputs, targets) in enumerate(micro_batches(x, y, 25)):
        if i % accumulate == 0:
            optimizer.zero_grad(set_to_none=False)
        loss = nn.functional.mse_loss(model(inputs), targets)
        (loss / accumulate).backward()
        if i % accumulate == accumulate - 1:
            optimizer.step()
    return loss.item()


torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(600, 5)
y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2]
model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(6):
    loss = train_epoch(model, optimizer, x, y, accumulate=3)
print(f"final loss {loss:.4f}")
