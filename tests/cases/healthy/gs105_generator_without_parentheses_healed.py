# expect: none
"""A GAN that clears by netG.zero_grad(), as tutorials do."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
netG = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 64), nn.Tanh())
netD = nn.Sequential(nn.Linear(64, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1))
optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-3)
optimizerD = torch.optim.Adam(netD.parameters(), lr=1e-3)
criterion = nn.BCEWithLogitsLoss()
for step in range(120):
    real, fake = images[torch.randint(1700, (32,))], netG(torch.randn(32, 8))
    netD.zero_grad()
    criterion(netD(real), torch.ones(32, 1)).backward()
    criterion(netD(fake.detach()), torch.zeros(32, 1)).backward()
    optimizerD.step()
    netG.zero_grad()
    criterion(netD(fake), torch.ones(32, 1)).backward()
    optimizerG.step()
