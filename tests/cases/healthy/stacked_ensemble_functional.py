# expect: none
"""An ensemble of five models trained at once with torch.func (stack_module_state, functional_call, vmap): the
trained tensors are stacked copies, the modules themselves only give the shape.
"""
import torch
from torch import nn
from torch.func import functional_call, stack_module_state

torch.manual_seed(0)
torch.set_num_threads(1)

members = [nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(5)]
params, buffers = stack_module_state(members)
skeleton = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(params.values(), lr=0.02)
x = torch.randn(300, 3)
y = x[:, :1] * x[:, 1:2] + x[:, 2:]


def call(p, b, inputs):
    return functional_call(skeleton, (p, b), (inputs,))


for step in range(100):
    prediction = torch.vmap(call, in_dims=(0, 0, None))(params, buffers, x)
    loss = (prediction - y).square().mean(dim=(1, 2)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
