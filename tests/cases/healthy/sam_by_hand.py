# expect: none
"""Sharpness-aware minimisation without an own optimizer class: perturb by hand, clear, second backward,
restore, one ordinary step.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(400, 5)
y = (x[:, 0] * x[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(5, 48), nn.ReLU(), nn.Linear(48, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()

for step in range(100):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    with torch.no_grad():
        saved = [p.clone() for p in model.parameters()]
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        for p in model.parameters():
            p.add_(p.grad, alpha=0.05 / (norm.item() + 1e-12))
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    with torch.no_grad():
        for p, old in zip(model.parameters(), saved):
            p.copy_(old)
    optimizer.step()

print(f"final loss {loss.item():.4f}")
