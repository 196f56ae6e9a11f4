# expect: none
"""A CNN with BatchNorm that says which digits are even, as a logit."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
even = torch.tensor(digits.target % 2 == 0, dtype=torch.float32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(256, 1)

    def forward(self, images):
        return self.head(self.body(images))


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loss_fn = nn.BCEWithLogitsLoss()
for step in range(150):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    loss = loss_fn(model(images[batch]).squeeze(1), even[batch])
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    loss = loss_fn(model(images[1500:]).squeeze(1), even[1500:])
print(f"test loss: {loss:.4f}")
