# expect: none
"""What begins at zero: short cuts with a gate of 0 around deep blocks, the BatchNorm of each, adapters, heads."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Block(nn.Module):
    def __init__(self, size=32, rank=4):
        super().__init__()
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size)
        self.down, self.up = nn.Linear(size, rank, bias=False), nn.Linear(rank, size, bias=False)
        self.norm, self.gate = nn.BatchNorm1d(size), nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        x = x + self.gate * torch.tanh(self.second(torch.tanh(self.first(x)))) + self.up(self.down(x))
        return x + self.norm(torch.relu(self.first(x)))


model = nn.Sequential(nn.Linear(64, 32), *(Block() for _ in range(8)), nn.LayerNorm(32), nn.Linear(32, 10))
nn.init.zeros_(model[-1].weight)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(120):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
    optimizer.step()
