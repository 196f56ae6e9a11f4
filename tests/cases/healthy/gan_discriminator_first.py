# expect: none
"""A GAN in the order of the DCGAN tutorial: the discriminator first (real and fake in two backwards, the fakes
detached), then the generator, whose backward leaves gradients in the discriminator until its next zero_grad().
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

netG = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
netD = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.999))


def real_batch(n):
    angle = 2 * torch.pi * torch.rand(n)
    return torch.stack([angle.cos(), angle.sin()], dim=1) + 0.05 * torch.randn(n, 2)


ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
for i in range(100):
    # (1) update D: maximise log(D(x)) + log(1 - D(G(z)))
    netD.zero_grad()
    errD_real = criterion(netD(real_batch(64)), ones)
    errD_real.backward()
    fake = netG(torch.randn(64, 4))
    errD_fake = criterion(netD(fake.detach()), zeros)
    errD_fake.backward()
    optimizerD.step()
    # (2) update G: maximise log(D(G(z)))
    netG.zero_grad()
    errG = criterion(netD(fake), ones)
    errG.backward()
    optimizerG.step()

print(f"final loss D {errD_real.item() + errD_fake.item():.4f} G {errG.item():.4f}")
