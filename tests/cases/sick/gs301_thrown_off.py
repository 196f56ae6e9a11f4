# expect: GS301
# by-row: 200
# line: here
# healed-by: healthy/gs301_thrown_off_healed.py
"""Pixels up to 16 and a rate for pixels up to 1: a few steps throw the weights away; then it only guesses."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) , torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
for epoch in range(10):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()  # <- here
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
