# expect: none
"""Gradient accumulation with bad samples: a window that meets one is given up with zero_grad(), after some of
its backwards have already run.
"""
import torch
from torch import nn


class BadSample(Exception):
    pass


def load(i, x, y):
    if i % 23 == 7:
        raise BadSample(i)
    rows = torch.randint(0, len(x), (16,))
    return x[rows], y[rows]


torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(400, 4)
y = (x[:, 0] * x[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
dropped, i, running = 0, 0, 0.7
for window in range(80):
    try:
        for _ in range(3):
            i += 1
            inputs, labels = load(i, x, y)
            loss = nn.functional.cross_entropy(model(inputs), labels) / 3
            loss.backward()
            running = 0.95 * running + 0.05 * 3 * loss.item()
    except BadSample:
        dropped += 1
        optimizer.zero_grad()
        continue
    optimizer.step()
    optimizer.zero_grad()

print(f"dropped {dropped} windows")
print(f"final loss {running:.4f}")
