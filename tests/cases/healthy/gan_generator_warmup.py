# expect: none
"""A GAN whose generator is warmed up alone: first by a pixel loss (super-resolution style), then against a
discriminator that stays as it is for a while, and only then are both trained in turns.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

sharp = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
blurred = nn.functional.interpolate(nn.functional.avg_pool2d(sharp, 2), scale_factor=2)

generator = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 3, padding=1))
discriminator = nn.Sequential(nn.Conv2d(1, 12, 3, stride=2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(108, 1))
opt_g = torch.optim.Adam(generator.parameters(), lr=3e-3)
opt_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
bce = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(48, 1), torch.zeros(48, 1)

for step in range(90):
    rows = torch.randint(0, len(sharp), (48,))
    real, restored = sharp[rows], generator(blurred[rows])
    loss_g = nn.functional.mse_loss(restored, real)
    if step >= 30:
        discriminator.requires_grad_(False)
        loss_g = loss_g + 1e-3 * bce(discriminator(restored), ones)
        discriminator.requires_grad_(True)
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    if step >= 50:
        opt_d.zero_grad()
        loss_d = bce(discriminator(real), ones) + bce(discriminator(restored.detach()), zeros)
        loss_d.backward()
        opt_d.step()

print(f"final loss {loss_g.item():.4f}")
