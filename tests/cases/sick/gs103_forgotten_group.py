# expect: GS103
# by-row: 20
# line: here
# healed-by: healthy/gs103_forgotten_group_healed.py
"""Parameter groups written by hand: the encoder and the decoder are there, the bottleneck between them was
forgotten.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.bottleneck = nn.Sequential(nn.Linear(32, 6), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x):
        return self.decoder(self.bottleneck(self.encoder(x)))


torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
model = AutoEncoder()
optimizer = torch.optim.Adam(
    [
        {"params": model.encoder.parameters(), "lr": 5e-3},
        {"params": model.decoder.parameters(), "lr": 1e-2},
    ]
)

for epoch in range(6):
    for chunk in images[torch.randperm(len(images))].split(64):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(chunk), chunk)
        loss.backward()
        optimizer.step()  # <- here

with torch.no_grad():
    print(f"final loss {nn.functional.mse_loss(model(images), images).item():.4f}")
