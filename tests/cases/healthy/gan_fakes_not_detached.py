# expect: none
"""A GAN whose discriminator loss is computed on fakes that are not detached: the discriminator's backward also
fills the generator's gradients, which the generator's zero_grad() throws away before its own backward.
"""
import torch
from torch import nn, optim

torch.manual_seed(0)
torch.set_num_threads(1)

G = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
D = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
opt_g = optim.RMSprop(G.parameters(), lr=5e-4)
opt_d = optim.RMSprop(D.parameters(), lr=5e-4)
bce = nn.functional.binary_cross_entropy_with_logits

for it in range(100):
    real = torch.randn(64, 2) * torch.tensor([1.0, 0.2]) + torch.tensor([2.0, -1.0])

    d_real, d_fake = D(real), D(G(torch.randn(64, 2)))
    loss_d = bce(d_real, torch.ones_like(d_real)) + bce(d_fake, torch.zeros_like(d_fake))
    opt_d.zero_grad()
    loss_d.backward()
    opt_d.step()

    d_fake = D(G(torch.randn(64, 2)))
    loss_g = bce(d_fake, torch.ones_like(d_fake))
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()

print(f"final loss D {loss_d.item():.4f} G {loss_g.item():.4f}")
