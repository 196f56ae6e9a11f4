# expect: none
"""Both go back to train mode; in the last epochs the encoder is meant to stay in eval mode."""
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
    encoder.train()
    if epoch > 3:
        encoder.eval()
    for i in range(0, 512, 32):
        x = data[i : i + 32]
        loss = nn.functional.mse_loss(decoder(encoder(x)), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    decoder.eval()
    with torch.no_grad():
        valid = nn.functional.mse_loss(decoder(encoder(data[512:])), data[512:]).item()
    print(f"{epoch}: {loss.item():.4f}, held out {valid:.4f}")
