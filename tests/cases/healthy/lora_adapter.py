# expect: none
"""A LoRA adapter on a frozen linear layer: one of its factors starts at zero, so the other one's first gradient
is exactly zero.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(rank, base.in_features) * 0.1)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.A.T @ self.B.T


def fit(model, params, x, y, steps, lr):
    optimizer = torch.optim.AdamW(params, lr=lr)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
print(f"base {fit(model, model.parameters(), x, y, 50, 1e-2):.4f}")
model.requires_grad_(False)
model[0], model[2] = LoRALinear(model[0]), LoRALinear(model[2])
mirrored = x.view(-1, 8, 8).flip(2).flatten(1)
trainable = [p for p in model.parameters() if p.requires_grad]
print(f"final loss {fit(model, trainable, mirrored, y, 80, 2e-2):.4f}")
