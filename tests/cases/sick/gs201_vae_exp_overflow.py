# expect: GS201
# by-row: end
# line: here
# worse: test loss
# healed-by: healthy/gs201_vae_exp_overflow_healed.py
"""A VAE on images that are not scaled: the log-variance of a batch goes beyond what exp can hold."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
images[900] *= 3000  # one image in other units


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mean, self.logvar = nn.Linear(64, 6), nn.Linear(64, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x):
        hidden = self.encoder(x)
        mean, logvar = self.mean(hidden).tanh() * 3, self.logvar(hidden)
        logvar = logvar * 1
        z = mean + (logvar / 2).exp() * torch.randn_like(mean)
        kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum(dim=1)
        return self.decoder(z), kl


model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
target = images.clamp(0, 1)


def loss_of(rows):
    logits, kl = model(images[rows])
    return (nn.functional.binary_cross_entropy_with_logits(logits, target[rows], reduction="none").sum(1) + kl).mean()


for epoch in range(3):
    for rows in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        loss = loss_of(rows)
        loss.backward()  # <- here
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {loss_of(torch.arange(1500, 1797)).item():.4f}")
