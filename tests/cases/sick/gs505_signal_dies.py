# expect: GS505
# by-row: end
# line: here
# advised: nn.init.kaiming_normal_
# worse: test loss
# healed-by: healthy/gs505_signal_dies_healed.py
"""22 layers with torch's own initialisation, which lets the signal shrink from layer to layer, and no normalisation."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
layers = [nn.Linear(64, 64), nn.ReLU()]
for _ in range(20):
    layers += [nn.Linear(64, 64), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(4):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
