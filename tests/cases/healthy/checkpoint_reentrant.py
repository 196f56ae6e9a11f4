# expect: none
"""Activation checkpointing of the old kind (use_reentrant=True): the forward of a block is run again, and a
backward is called inside the backward.
"""
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
torch.set_num_threads(1)


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x):
        return x + self.net(x)


class Model(nn.Module):
    def __init__(self, size=16, depth=3):
        super().__init__()
        self.stem = nn.Linear(8, size)
        self.blocks = nn.ModuleList([Block(size) for _ in range(depth)])
        self.head = nn.Linear(size, 4)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=True)
        return self.head(x)


x = torch.randn(512, 8)
y = x.view(512, 4, 2).prod(dim=2).argmax(dim=1)
model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(80):
    rows = torch.randint(0, 512, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
