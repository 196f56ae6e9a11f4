# expect: none
"""Gradients come from autograd.grad and are assigned by hand (p.grad = ...) before the step: there is neither a
backward() nor a zero_grad().
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(300, 6)
y = (x[:, :3] * x[:, 3:]).sum(dim=1, keepdim=True).tanh()
model = nn.Sequential(nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, 1))
params = list(model.parameters())
optimizer = torch.optim.Adam(params, lr=0.02)

for step in range(100):
    loss = nn.functional.mse_loss(model(x), y)
    for p, g in zip(params, torch.autograd.grad(loss, params)):
        p.grad = g
    optimizer.step()

print(f"final loss {loss.item():.4f}")
