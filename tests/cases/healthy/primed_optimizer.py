# expect: none
"""A well-known trick to silence the scheduler's warning: optimizer.zero_grad(); optimizer.step() once before
the training, a step without any gradient that does nothing.
"""
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(640, 8)
y = (x[:, :4].norm(dim=1) > x[:, 4:].norm(dim=1)).long()
model = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = OneCycleLR(optimizer, max_lr=2e-2, total_steps=120)

# this zero gradient update is needed to avoid a warning message of the scheduler
optimizer.zero_grad()
optimizer.step()

for step in range(100):
    scheduler.step()
    rows = torch.randint(0, 640, (64,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
