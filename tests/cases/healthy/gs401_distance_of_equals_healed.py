# expect: none
"""Pairs of digits at a distance that never is 0 to the last bit: its root has a derivative everywhere."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def loss_of(first, second):
    difference = model(images[first]) - model(images[second])
    distance = (difference.pow(2).sum(dim=1) + 1e-8).sqrt()
    same = labels[first] == labels[second]
    return torch.where(same, distance**2, (1 - distance).clamp_min(0) ** 2).mean()


for step in range(200):
    first, second = torch.randint(1500, (2, 64))
    optimizer.zero_grad()
    loss = loss_of(first, second)
    loss.backward()
    optimizer.step()
with torch.no_grad():
    test = torch.arange(1500, 1796)
    print(f"test loss: {loss_of(test, test + 1).item():.4f}")
