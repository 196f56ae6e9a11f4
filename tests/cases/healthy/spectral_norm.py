# expect: none
"""A GAN discriminator with spectral normalisation and a hinge loss: weights computed by a parametrisation with
power-iteration buffers.
"""
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = spectral_norm(nn.Linear(2, 48))
        self.out = spectral_norm(nn.Linear(48, 1))

    def forward(self, x):
        return self.out(F.leaky_relu(self.hidden(x), 0.1))


torch.manual_seed(0)
torch.set_num_threads(1)
G = nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 2))
D = Discriminator()
opt_g = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.9))
opt_d = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.9))
for step in range(80):
    real = torch.randn(64, 2) * 0.2 + torch.where(torch.rand(64, 1) < 0.5, 1.0, -1.0)
    fake = G(torch.randn(64, 2))
    d_loss = F.relu(1 - D(real)).mean() + F.relu(1 + D(fake.detach())).mean()
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()
    g_loss = -D(fake).mean()
    opt_g.zero_grad()
    g_loss.backward()
    opt_g.step()
print(f"final loss D {d_loss.item():.4f} G {g_loss.item():.4f}")
