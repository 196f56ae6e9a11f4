# expect: GS504
# by-row: 5
# advised: squeeze(1)
# worse: test loss
# line: here
# healed-by: healthy/gs504_by_hand_cnn_healed.py
"""The squared error is written out: (32, 1) minus (32,) is (32, 32)."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
ink = images.mean(dim=(1, 2, 3)) * 10 - 3
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(256, 1),
)  # fmt: skip
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for step in range(150):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    loss = ((model(images[batch]) - ink[batch]) ** 2).mean()
    loss.backward()  # <- here
    optimizer.step()
model.eval()
with torch.no_grad():
    loss = (model(images[1500:])[:, 0] - ink[1500:]).square().mean()
print(f"test loss: {loss:.4f}")
