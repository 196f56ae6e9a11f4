# expect: none
"""A GAN on black and white images: its generator ends in a tanh that sits at -1 and 1, with small batches."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
real = torch.where(images > 0.5, 1.0, -1.0)
generator = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
critic = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
bce = nn.functional.binary_cross_entropy_with_logits
for step in range(300):
    fake = generator(torch.randn(16, 8))
    one, zero = torch.ones(16, 1), torch.zeros(16, 1)
    optimizer_d.zero_grad()
    loss_d = bce(critic(real[torch.randint(0, 1200, (16,))]), one) + bce(critic(fake.detach()), zero)
    loss_d.backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    loss_g = bce(critic(fake), one)
    loss_g.backward()
    optimizer_g.step()
print(f"{loss_d.item():.3f} {loss_g.item():.3f}, at the ends: {(fake.abs() > 0.99).float().mean():.2f}")
