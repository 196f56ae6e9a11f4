# expect: none
"""A few rows of a small table were never divided: they are in one batch of seven: healed."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
noisy = images.clone()
noisy[:1200:300] *= 1
model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 64), nn.Sigmoid())
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(20):
    for batch in torch.randperm(1200).split(48):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(images[batch]), noisy[batch])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(images[1200:]), images[1200:]):.5f}")
