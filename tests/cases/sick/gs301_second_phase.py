# expect: GS301
# by-row: 480
# line: here
# healed-by: healthy/gs301_second_phase_healed.py
"""Two phases on one model, each with its own optimizer; the second one's rate was meant to be a thousandth of it."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def phase(optimizer, steps):
    for _ in range(steps):
        batch = torch.randint(0, 1500, (32,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()  # <- here


first = torch.optim.Adam(model.parameters(), lr=1e-3)
phase(first, 400)
second = torch.optim.SGD(model.parameters(), lr=30.0, momentum=0.9)
phase(second, 300)
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
