# expect: GS503
# by-row: 5
# advised: leave out the sigmoid
# worse: test loss
# line: here
# healed-by: healthy/gs503_sigmoid_gan_healed.py
"""A GAN whose discriminator ends in a sigmoid, and BCEWithLogitsLoss, which takes one itself."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
critic = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Sigmoid())
g_optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3, betas=(0.5, 0.999))
d_optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.5, 0.999))
loss_fn = nn.BCEWithLogitsLoss()


def real(count):
    return torch.randn(count, 2) * torch.tensor([0.5, 0.2]) + torch.tensor([3.0, -2.0])


for step in range(300):
    fake = generator(torch.randn(64, 4))
    d_optimizer.zero_grad()
    loss = loss_fn(critic(real(64)), torch.ones(64, 1)) + loss_fn(critic(fake.detach()), torch.zeros(64, 1))
    loss.backward()  # <- here
    d_optimizer.step()
    g_optimizer.zero_grad()
    loss_fn(critic(fake), torch.ones(64, 1)).backward()
    g_optimizer.step()
with torch.no_grad():
    fake = generator(torch.randn(2000, 4))
    true = real(2000)
    distance = (fake.mean(0) - true.mean(0)).square().sum() + (fake.std(0) - true.std(0)).square().sum()
print(f"test loss: {distance:.4f}")
