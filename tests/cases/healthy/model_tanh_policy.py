# expect: none
"""A policy that learns to bang: its tanh ends up at -1 or 1, as the expert it imitates does."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2), nn.Tanh())
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
expert = torch.randn(4, 2)
for step in range(300):
    state = torch.randn(64, 4)
    loss = nn.functional.mse_loss(policy(state), torch.sign(state @ expert))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")
