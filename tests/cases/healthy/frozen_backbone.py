# expect: none
"""Fine-tuning with a frozen backbone: its parameters have requires_grad=False but are still handed to the
optimizer, and never get a gradient.
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(16 * 36, 10)

    def forward(self, x):
        return self.head(self.backbone(x))


torch.manual_seed(0)
torch.set_num_threads(1)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(data.target)

model = Net()
for p in model.backbone.parameters():
    p.requires_grad_(False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()
for step in range(80):
    rows = torch.randint(0, len(images), (64,))
    optimizer.zero_grad()
    loss = criterion(model(images[rows]), labels[rows])
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
