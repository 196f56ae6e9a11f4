# expect: none
"""Pixels of 0 to 255, normalised by the BatchNorm behind the first convolution; and a raw table, by one before."""
import torch
from sklearn.datasets import load_digits, load_wine
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images * 255 / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
model = nn.Sequential(
    nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
    nn.Flatten(), nn.Linear(24 * 16, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for batch in torch.randperm(1500).split(32):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
    optimizer.step()
wine = load_wine()
features, classes = torch.tensor(wine.data, dtype=torch.float32), torch.tensor(wine.target)
model = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(12):
    for batch in torch.randperm(178).split(30):
        if len(batch) > 8:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(features[batch]), classes[batch]).backward()
            optimizer.step()
