# expect: none
"""A physics-informed network: the inputs require gradients, autograd.grad gives the derivative of the output
(create_graph=True), and the residual of the equation u' = -2u is the loss.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

u = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(u.parameters(), lr=0.02)
t = torch.linspace(0, 2, 60).unsqueeze(1).requires_grad_(True)
for epoch in range(120):
    value = u(t)
    derivative = torch.autograd.grad(value, t, torch.ones_like(value), create_graph=True)[0]
    residual = (derivative + 2 * value).square().mean()
    start = (u(torch.zeros(1, 1)) - 1).square().mean()
    loss = residual + start
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
