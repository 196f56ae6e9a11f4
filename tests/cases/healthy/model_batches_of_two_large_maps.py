# expect: none
"""Segmentation in batches of two: the positions of large feature maps are values too."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
    nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1),
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(120):
    images = torch.randn(2, 1, 24, 24)
    target = (nn.functional.avg_pool2d(images, 3, stride=1, padding=1)[:, 0] > 0).long()
    loss = nn.functional.cross_entropy(model(images), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")
