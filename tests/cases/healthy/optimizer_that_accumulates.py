# expect: none
"""A hand-written optimizer that sums gradients itself and writes at each 8th step only; a proximal one that shrinks a
useless layer to zero and holds it there.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class EveryEighth(torch.optim.SGD):
    calls = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            for p in group["params"]:
                total = self.state[p].setdefault("total", torch.zeros_like(p))
                total += p.grad
                if self.calls % 8 == 0:
                    p.sub_(group["lr"] * total / 8)
                    total.zero_()


class Proximal(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)
                if p.dim() > 1:
                    p.copy_(p.sign() * (p.abs() - group["lr"] * 0.5).clamp(min=0))


X = torch.randn(256, 6)
Y = (2 * X[:, :1] - X[:, 1:2]).tanh()
for kind in (EveryEighth, Proximal):
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = kind(model.parameters(), lr=0.1)
    for step in range(160):
        batch = torch.randint(0, 256, (32,))
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(X[batch]), Y[batch])
        loss.backward()
        optimizer.step()
    print(f"{kind.__name__} loss {loss.item():.4f}")
