# expect: none
"""Group normalisation."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)


class Block(nn.Module):
    def __init__(self, before, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, width, 3, padding=1, stride=2, bias=False), nn.GroupNorm(8, width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(8, width)
        self.skip = nn.Conv2d(before, width, 1, stride=2)

    def forward(self, x):
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(self.skip(x) + out)


model = nn.Sequential(Block(1, 32), Block(32, 32), Block(32, 32), Block(32, 32), nn.Flatten(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(1):
    for batch in torch.randperm(1200).split(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
