# expect: none
"""Self-supervised learning with a momentum encoder: a deep copy without gradients provides the targets, and a
projector that the loss reaches from one side only.
"""
import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

images = torch.tensor(load_digits().data, dtype=torch.float32) / 16


def augment(x):
    return x * (torch.rand_like(x) > 0.15) + 0.05 * torch.randn_like(x)


online = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16))
momentum = copy.deepcopy(online)
for p in momentum.parameters():
    p.requires_grad = False
optimizer = torch.optim.Adam(online.parameters(), lr=3e-3)
for step in range(100):
    batch = images[torch.randint(0, len(images), (64,))]
    query = F.normalize(online(augment(batch)), dim=1)
    with torch.no_grad():
        for slow, fast in zip(momentum.parameters(), online.parameters()):
            slow.data.mul_(0.95).add_(fast.data, alpha=0.05)
        key = F.normalize(momentum(augment(batch)), dim=1)
    loss = F.cross_entropy(query @ key.T / 0.2, torch.arange(64))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
