# expect: none
"""A hand-written Muon (an Optimizer subclass that orthogonalises the momentum of matrices) for the hidden
matrices and AdamW for everything else, stepping one after the other.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


def orthogonalise(matrix, steps=5):
    """Newton-Schulz iteration towards the nearest orthogonal matrix."""
    x = matrix / (matrix.norm() + 1e-7)
    transposed = x.size(0) > x.size(1)
    if transposed:
        x = x.T
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if transposed else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=0.02, momentum=0.95):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"]
                buffer.lerp_(p.grad, 1 - group["momentum"])
                p.add_(orthogonalise(p.grad.lerp(buffer, group["momentum"])), alpha=-group["lr"])


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
matrices = [model[0].weight, model[2].weight]
others = [p for p in model.parameters() if not any(p is m for m in matrices)]
optimizers = [Muon(matrices, lr=0.02), torch.optim.AdamW(others, lr=5e-3)]
for step in range(80):
    rows = torch.randint(0, len(x), (64,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
print(f"final loss {loss.item():.4f}")
