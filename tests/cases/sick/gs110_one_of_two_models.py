# expect: GS110
# by-row: 30
# advised: encoder.train()
# line: here
# healed-by: healthy/gs110_one_of_two_models_healed.py
"""Encoder and decoder in one optimizer: after each validation of both only one of them goes back to train mode."""
import itertools

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = torch.randn(640, 16) @ torch.randn(16, 16)
data = data / data.std()
encoder = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))
decoder = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
optimizer = torch.optim.Adam(itertools.chain(encoder.parameters(), decoder.parameters()), lr=2e-3)
for epoch in range(6):
    decoder.train()
    for i in range(0, 512, 32):
        x = data[i : i + 32]
        loss = nn.functional.mse_loss(decoder(encoder(x)), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()  # <- here
    encoder.eval()
    decoder.eval()
    with torch.no_grad():
        valid = nn.functional.mse_loss(decoder(encoder(data[512:])), data[512:]).item()
    print(f"{epoch}: {loss.item():.4f}, held out {valid:.4f}")
