# expect: none
"""An MLP finds the 2 % of machines that will fail: a failure weighs as much as 47 others."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def machines(many):
    fails = torch.rand(many) < 0.02
    return torch.randn(many, 20) + fails[:, None] * (torch.arange(20) < 4), fails.float()


readings, fails = machines(4000)
test_readings, test_fails = machines(4000)
model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([47.0]))
for epoch in range(6):
    for batch in torch.randperm(len(readings)).split(64):
        optimizer.zero_grad()
        loss = loss_fn(model(readings[batch])[:, 0], fails[batch])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    found = (model(test_readings)[:, 0] > 0).float()
wrong = [(found[test_fails == c] != c).float().mean().item() for c in (0, 1)]
print(f"balanced error: {sum(wrong) / 2:.4f}")
