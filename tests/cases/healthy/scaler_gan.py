# expect: none
"""A GAN in float16: one scaler for two optimizers, each unscaled and clipped by itself."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
real = torch.randn(2000, 2) * torch.tensor([1.0, 0.2]) + 2
generator = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
critic = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
make = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
judge = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
scaler = torch.amp.GradScaler("cpu")
right, wrong = torch.ones(64, 1), torch.zeros(64, 1)
bce = nn.functional.binary_cross_entropy_with_logits
for step in range(150):
    judge.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        fake = generator(torch.randn(64, 8))
        seen = real[torch.randint(2000, (64,))]
        loss = bce(critic(seen).float(), right) + bce(critic(fake.detach()).float(), wrong)
    scaler.scale(loss).backward()
    scaler.unscale_(judge)
    nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
    scaler.step(judge)
    make.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = bce(critic(fake).float(), right)
    scaler.scale(loss).backward()
    scaler.unscale_(make)
    nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
    scaler.step(make)
    scaler.update()
