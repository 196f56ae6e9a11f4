# expect: none
"""Gradient accumulation where the gradients are dropped by hand, p.grad = None, without any call of
zero_grad().
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

inputs = torch.randn(512, 10)
labels = (inputs[:, :5].sum(dim=1) > 0).long()
model = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()

for step in range(60):
    for p in model.parameters():
        p.grad = None
    for micro in range(2):
        rows = torch.randint(0, 512, (32,))
        loss = criterion(model(inputs[rows]), labels[rows])
        loss.mul(0.5).backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
