"""A GAN of digits: non-saturating loss, two Adams, measured by the moments of a feature space."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

torch.manual_seed(4)
torch.set_num_threads(1)
nz, ngf, ndf = 16, 96, 96
lr_d, lr_g, beta1 = 4e-4, 4e-4, 0.5
num_epochs, batch_size = 40, 64

digits = load_digits().data / 8.0 - 1.0
real_data = torch.tensor(digits[:1500], dtype=torch.float32)
held_out = torch.tensor(digits[1500:], dtype=torch.float32)
pca = PCA(12, random_state=0).fit(digits[:1500])

netG = nn.Sequential(
    nn.Linear(nz, ngf),
    nn.BatchNorm1d(ngf),
    nn.ReLU(),
    nn.Linear(ngf, ngf),
    nn.BatchNorm1d(ngf),
    nn.ReLU(),
    nn.Linear(ngf, 64),
    nn.Tanh(),
)
netD = nn.Sequential(
    nn.Linear(64, ndf),
    nn.LeakyReLU(0.2),
    nn.Dropout(0.2),
    nn.Linear(ndf, ndf),
    nn.LeakyReLU(0.2),
    nn.Dropout(0.2),
    nn.Linear(ndf, 1),
)


def distance():
    """Frechet distance between generated and held-out images, in the space of the twelve main components."""
    netG.eval()
    noise = torch.randn(1000, nz, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fake, real = (torch.tensor(pca.transform(x.numpy())) for x in (netG(noise), held_out))
    netG.train()
    moment = torch.linalg.eigvals(torch.cov(fake.T) @ torch.cov(real.T)).real.clamp(min=0).sqrt().sum()
    traces = torch.trace(torch.cov(fake.T)) + torch.trace(torch.cov(real.T))
    return ((fake.mean(0) - real.mean(0)).square().sum() + traces - 2 * moment).item()


criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=lr_d, betas=(beta1, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=lr_g, betas=(beta1, 0.999))
print(f"start: {distance():.5f}")
for epoch in range(num_epochs):
    permutation = torch.randperm(len(real_data))
    for i in range(0, len(real_data) - batch_size + 1, batch_size):
        # the discriminator: real ones, then generated ones
        real = real_data[permutation[i : i + batch_size]]
        label = torch.full((batch_size, 1), 0.9)
        netD.zero_grad()
        errD_real = criterion(netD(real), label)
        errD_real.backward()
        fake = netG(torch.randn(batch_size, nz))
        label.fill_(0.0)
        errD_fake = criterion(netD(fake.detach()), label)
        errD_fake.backward()
        optimizerD.step()
        # the generator
        netG.zero_grad()
        label.fill_(1.0)
        errG = criterion(netD(fake), label)
        errG.backward()
        optimizerG.step()
    if epoch % 10 == 9:
        print(f"[{epoch + 1}/{num_epochs}] D {errD_real + errD_fake:.3f} G {errG:.3f} distance {distance():.3f}")
print(f"result: {distance():.5f}")
