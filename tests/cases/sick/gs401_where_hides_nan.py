# expect: GS401
# by-row: end
# line: here
# worse: test loss
# healed-by: healthy/gs401_where_hides_nan_healed.py
"""A CNN that pools over the lit part of an image. Of images without any, torch.where hides 0 / 0, but not its
derivative.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
lit = (images > 0.3).float()
lit[700] = 0.0


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.more = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x, mask):
        features = self.more(self.body(x))
        area = mask.sum(dim=(2, 3))
        total = (features * mask).sum(dim=(2, 3))
        mean = total / area
        return self.head(torch.where(area > 0, mean, torch.zeros_like(mean)))


model = Pooled()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(2):
    for batch in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch], lit[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:], lit[1500:]), labels[1500:]).item():.4f}")
