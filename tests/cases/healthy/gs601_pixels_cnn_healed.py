# expect: none
"""The pixels are divided by 255."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.images * 255 / 16, dtype=torch.uint8)  # as an image file has them
labels = torch.tensor(digits.target)
x = images.float().unsqueeze(1)
x = x / 255
model = nn.Sequential(
    nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.ReLU(),
    nn.Flatten(), nn.Linear(24 * 16, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for epoch in range(5):
    for batch in torch.randperm(1500).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch]), labels[batch])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(x[1500:]), labels[1500:]):.4f}")
