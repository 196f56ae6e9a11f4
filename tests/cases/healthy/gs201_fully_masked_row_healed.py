# expect: none
"""A small language model with tied weights and an attention written by hand. The first position is never masked."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x, keep):
        query, key, value = self.qkv(self.norm(x)).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / x.shape[-1] ** 0.5
        scores = scores.masked_fill(~keep.unsqueeze(1), float("-inf"))
        x = x + self.out(scores.softmax(dim=-1) @ value)
        return x + self.mlp(x)


class Model(nn.Module):
    def __init__(self, words, width=32):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.zeros(12, width))
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, tokens):
        keep = tokens != 0
        keep[:, 0] = True
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x, keep)
        return self.head(x)


start, step = torch.randint(1, 20, (600, 1)), torch.randint(1, 4, (600, 1))
tokens = 1 + (start + step * torch.arange(12)) % 19
lengths = torch.randint(4, 13, (600, 1))
lengths[500] = 0
tokens[torch.arange(12) >= lengths] = 0
model = Model(20)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)


def loss_of(batch):
    hidden = torch.rand(batch.shape) < 0.15
    return nn.functional.cross_entropy(model(batch.masked_fill(hidden & (batch > 0), 1)).flatten(0, 1), batch.flatten())


for epoch in range(4):
    for rows in torch.randperm(560).split(28):
        optimizer.zero_grad()
        loss = loss_of(tokens[rows])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {loss_of(tokens[560:]).item():.4f}")
