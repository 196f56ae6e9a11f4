# expect: GS101
# by-row: 1
# line: here
# healed-by: healthy/gs101_only_head_cleared_healed.py
"""The author clears model.head only; the gradients of the encoder below it are never cleared."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Classifier(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, 10)

    def forward(self, x):
        return self.head(self.encoder(x))


def run(steps=100, batch_size=64):
    x, y = load_digits(return_X_y=True)
    x, y = torch.as_tensor(x, dtype=torch.float32) / 16, torch.as_tensor(y)
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(steps):
        index = torch.randint(len(x), (batch_size,))
        model.head.zero_grad()
        loss = F.cross_entropy(model(x[index]), y[index])
        loss.backward()  # <- here
        optimizer.step()
    with torch.no_grad():
        return F.cross_entropy(model(x), y).item()


torch.manual_seed(0)
torch.set_num_threads(1)
print(f"final loss {run():.4f}")
