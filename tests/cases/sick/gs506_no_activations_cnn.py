# expect: GS506
# by-row: 210
# advised: nn.ReLU() between
# worse: test loss
# line: here
# healed-by: healthy/gs506_no_activations_cnn_healed.py
"""Convolutions and BatchNorm, and no activation: what is between the layers is linear too."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
patterns = torch.randn(2, 1, 8, 8)
signs = torch.randint(2, (2000,)) * 2.0 - 1
labels = torch.randint(2, (2000,))
images = signs[:, None, None, None] * patterns[labels] + 0.5 * torch.randn(2000, 1, 8, 8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(128, 2)

    def forward(self, images):
        hidden = self.second(self.norm(self.first(images)))
        return self.head(nn.functional.avg_pool2d(hidden, 2).flatten(1))


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
for step in range(600):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()  # <- here
    optimizer.step()
model.eval()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(images[1500:]), labels[1500:])
print(f"test loss: {loss:.4f}")
