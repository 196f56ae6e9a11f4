# expect: none
"""An auto-encoder with one optimizer for the encoder and one for the decoder, both cleared."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
data = torch.tensor(load_digits().data, dtype=torch.float32) / 16

encoder = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8))
decoder = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 64))
encoder_optimizer = torch.optim.SGD(encoder.parameters(), lr=0.5, momentum=0.9)
decoder_optimizer = torch.optim.SGD(decoder.parameters(), lr=0.5, momentum=0.9)
mse = nn.MSELoss()

for iteration in range(150):
    x = data[torch.randperm(len(data))[:128]]
    encoder_optimizer.zero_grad()
    decoder_optimizer.zero_grad()
    loss = mse(decoder(encoder(x)), x)
    loss.backward()
    encoder_optimizer.step()
    decoder_optimizer.step()

with torch.no_grad():
    print(f"final loss {mse(decoder(encoder(data)), data).item():.4f}")
