# expect: none
"""WGAN with gradient penalty: five critic steps per generator step, the penalty from
autograd.grad(create_graph=True) on interpolated inputs that require a gradient.
"""
import torch
from torch import autograd, nn

torch.manual_seed(0)
torch.set_num_threads(1)


def gradient_penalty(critic, real, fake):
    alpha = torch.rand(len(real), 1)
    interpolated = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(interpolated)
    gradient = autograd.grad(score, interpolated, torch.ones_like(score), create_graph=True, retain_graph=True)[0]
    return ((gradient.norm(2, dim=1) - 1) ** 2).mean()


generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
critic = nn.Sequential(nn.Linear(2, 32), nn.Softplus(), nn.Linear(32, 1))
opt_generator = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
opt_critic = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))

for iteration in range(20):
    for _ in range(5):
        real = torch.randn(64, 2) * 0.3 + torch.tensor([1.0, -1.0])
        fake = generator(torch.randn(64, 4)).detach()
        opt_critic.zero_grad()
        loss_critic = critic(fake).mean() - critic(real).mean() + 10 * gradient_penalty(critic, real, fake)
        loss_critic.backward()
        opt_critic.step()
    opt_generator.zero_grad()
    loss_generator = -critic(generator(torch.randn(64, 4))).mean()
    loss_generator.backward()
    opt_generator.step()

print(f"final loss critic {loss_critic.item():.4f} generator {loss_generator.item():.4f}")
