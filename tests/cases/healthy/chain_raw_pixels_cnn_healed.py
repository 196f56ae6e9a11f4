# expect: none
"""Colour images divided by 255, into a small CNN, SGD with momentum."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
labels = torch.randint(0, 4, (960,))
images = torch.rand(960, 3, 16, 16) * 120
for at in range(960):
    row, column = divmod(int(labels[at]), 2)
    images[at, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 90
images = images / 255
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 4),
)  # fmt: skip
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for epoch in range(8):
    for batch in torch.randperm(800).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
print(f"test loss: {nn.functional.cross_entropy(model(images[800:]), labels[800:]).item():.3f}")
