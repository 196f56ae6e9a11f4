# expect: GS403
# by-row: 110
# advised: x +
# worse: test loss
# line: here
# healed-by: healthy/gs403_plain_cnn_healed.py
"""Twelve convolutions in a row, tanh between them, no normalisation and no short cut."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
labels = torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(12))
        self.head = nn.Linear(128, 10)

    def forward(self, images):
        x = torch.tanh(self.stem(images))
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x.flatten(1))


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(400):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(images[1500:]), labels[1500:])
print(f"test loss: {loss:.4f}")
