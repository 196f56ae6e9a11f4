# expect: none
"""A GAN with a clip for each of the two; the generator's loss leaves gradients in the discriminator."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
judge = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
makes = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
judges = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.9))
softplus = nn.functional.softplus
for step in range(200):
    angle = 6.283 * torch.rand(64)
    real, fake = torch.stack([angle.cos(), angle.sin()], 1), generator(torch.randn(64, 4))
    judges.zero_grad()
    (softplus(-judge(real)).mean() + softplus(judge(fake.detach())).mean()).backward()
    nn.utils.clip_grad_norm_(judge.parameters(), 0.1)
    judges.step()
    makes.zero_grad()
    softplus(-judge(fake)).mean().backward()
    nn.utils.clip_grad_norm_(generator.parameters(), 0.1)
    makes.step()
print(f"radius {fake.norm(dim=1).mean():.3f}")
