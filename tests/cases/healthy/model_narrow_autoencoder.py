# expect: none
"""An autoencoder of black and white images: a linear code of four numbers, and sigmoids that end up at 0 and 1."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
black_and_white = (images > 0.5).float()
model = nn.Sequential(
    nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4), nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid()
)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(6):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(black_and_white[batch]), black_and_white[batch])
        loss.backward()
        optimizer.step()
print(f"loss {loss.item():.3f}")
