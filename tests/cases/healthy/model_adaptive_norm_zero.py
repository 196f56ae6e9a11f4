# expect: none
"""Blocks whose modulation starts at zero, and a last layer of zeros: three steps until all of it has a gradient."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(64, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))
        self.modulation = nn.Linear(16, 192)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x, condition):
        shift, scale, gate = self.modulation(condition).chunk(3, 1)
        return x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.label, self.blocks = nn.Embedding(10, 16), nn.ModuleList([Block() for _ in range(4)])
        self.last = nn.Linear(64, 64)
        nn.init.zeros_(self.last.weight)

    def forward(self, x, label):
        condition = self.label(label)
        for block in self.blocks:
            x = block(x, condition)
        return self.last(x)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(4):
    for batch in torch.randperm(1200).split(32):
        noise = torch.randn(len(batch), 64)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(images[batch] + noise, labels[batch]), noise)
        loss.backward()
        optimizer.step()
print(f"loss {loss.item():.3f}")
