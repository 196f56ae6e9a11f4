# expect: GS106
# by-row: 110
# line: here
# healed-by: healthy/gs106_step_rebinds_healed.py
"""A hand-written optimizer whose step() computes new tensors and lets go of them: nothing is ever written."""
import torch
from torch import nn
from torch.optim import Optimizer

torch.manual_seed(0)
torch.set_num_threads(1)


class PlainSGD(Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p = p - group["lr"] * p.grad


X = torch.randn(400, 5)
Y = X @ torch.tensor([[1.0], [-2.0], [0.5], [3.0], [0.0]]) + 0.7
model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = PlainSGD(model.parameters(), lr=0.05)

for step in range(120):
    batch = torch.randint(0, 400, (32,))
    loss = nn.functional.mse_loss(model(X[batch]), Y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()  # <- here

print(f"final loss {nn.functional.mse_loss(model(X), Y).item():.4f}")
