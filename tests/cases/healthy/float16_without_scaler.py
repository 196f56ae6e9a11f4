# expect: none
"""float16 autocast, no scaler, and gradients that it holds: dead units and masked positions have zeroes all the same.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
with torch.no_grad():
    model[0].bias[:128] = -3
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(140):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        losses = nn.functional.cross_entropy(model(images[batch]), labels[batch], reduction="none")
    (losses * (torch.arange(32) < 8)).sum().div(8).backward()
    optimizer.step()
