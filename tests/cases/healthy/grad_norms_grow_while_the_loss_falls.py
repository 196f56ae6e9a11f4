# expect: none
"""Logistic regression by a large step on a margin: gradients grow a lot while the loss falls."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
target = torch.randn(64, 8)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
with torch.no_grad():
    for layer in (model[0], model[2], model[4]):
        layer.weight.mul_(0.05)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
labels = (target[:, :1] * target[:, 1:2] > 0).float()
for step in range(600):
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(model(target), labels)
    loss.backward()
    optimizer.step()
print(f"final loss {loss:.4f}")
