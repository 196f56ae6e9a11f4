# expect: GS501
# by-row: end
# line: here
# advised: nn.init.zeros_
# worse: test loss
# healed-by: healthy/gs501_residual_batch_norm_healed.py
"""A residual CNN; someone meant to start its batch normalisations at weight 0, and wrote -4 into their biases."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        for norm in (self.norm1, self.norm2):
            nn.init.constant_(norm.bias, -4.0)

    def forward(self, x):
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(x + out)


model = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), Block(8), Block(8), nn.Flatten(), nn.Linear(8 * 9, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(4):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
