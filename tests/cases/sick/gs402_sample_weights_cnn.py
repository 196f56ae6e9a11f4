# expect: GS402
# by-row: end
# line: here
# advised: clip the gradient norm at 2
# worse: test loss
# healed-by: healthy/gs402_sample_weights_cnn_healed.py
"""Importance weights, of which a few are absurd: a batch with one of them throws the network off."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)
model = nn.Sequential(
    nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
    nn.Flatten(), nn.Linear(24 * 16, 10),
)
weights = torch.ones(len(images))
weights[::500] = 3e4  # importance weights: a few rare samples have absurd ones
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(6):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        losses = nn.functional.cross_entropy(model(images[batch]), labels[batch], reduction="none")
        loss = (weights[batch] * losses).mean()
        loss.backward()  # <- here
        optimizer.step()
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:]), labels[1500:]):.4f}")
