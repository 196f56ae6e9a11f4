# expect: GS404
# by-row: 5
# advised: straight-through
# worse: test loss
# line: here
# healed-by: healthy/gs404_rounded_autoencoder_healed.py
"""An autoencoder with a rounded code: the derivative of round() is 0, so the encoder never learns."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
        self.decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, images):
        code = 4 * torch.tanh(self.encoder(images))
        code = torch.round(code)
        return self.decoder(code / 4)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(200):
    batch = images[torch.randint(1500, (64,))]
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(batch), batch)
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.mse_loss(model(images[1500:]), images[1500:])
print(f"test loss: {loss:.4f}")
