# expect: none
"""Gradient accumulation over four micro-batches: several backwards per step, cleared right after the step (to
None).
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
ACCUMULATE = 4

x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

optimizer.zero_grad(set_to_none=True)
for i in range(160):
    batch = torch.randint(0, len(x), (16,))
    loss = nn.functional.cross_entropy(model(x[batch]), y[batch]) / ACCUMULATE
    loss.backward()
    if (i + 1) % ACCUMULATE == 0:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

with torch.no_grad():
    print(f"final loss {nn.functional.cross_entropy(model(x), y).item():.4f}")
