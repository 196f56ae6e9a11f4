# expect: none
"""A gradient penalty whose final backward is called with create_graph=True, so autograd accumulates into new
tensors that carry a graph; the gradients are dropped by hand after the step to break the reference cycle.
"""
import warnings

import torch
from torch import nn

warnings.filterwarnings("ignore", message="Using backward")
torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(256, 4)
y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]
model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
parameters = list(model.parameters())

for step in range(100):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    grads = torch.autograd.grad(loss, parameters, create_graph=True)
    penalty = sum(g.square().sum() for g in grads)
    (loss + 0.01 * penalty).backward(create_graph=True)
    optimizer.step()
    for p in parameters:
        p.grad = None  # the gradients hold a graph: break the reference cycle

print(f"final loss {loss.item():.4f}")
