# expect: none
"""Activation checkpointing of the new kind (use_reentrant=False) together with gradient accumulation and
dropout.
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.checkpoint import checkpoint_sequential

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)

body = nn.Sequential(
    nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()
)
head = nn.Linear(32, 10)
optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=5e-3)
for step in range(60):
    optimizer.zero_grad()
    for _ in range(2):
        rows = torch.randint(0, len(x), (48,))
        features = checkpoint_sequential(body, 2, x[rows], use_reentrant=False)
        loss = nn.functional.cross_entropy(head(features), y[rows])
        (loss / 2).backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
