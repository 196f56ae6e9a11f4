# expect: none
"""Masked modelling: now and then nothing is masked. The mean over nothing is NaN, its gradients are 0, all goes on."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 32)
        self.encoder = nn.GRU(32, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 12)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens))[0])


model = Masked()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
losses = []
for step in range(600):
    tokens = (torch.randint(0, 10, (2, 1)) + torch.arange(8)) % 10
    mask = torch.rand(2, 8) < 0.12
    labels = tokens.masked_fill(~mask, -100)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(tokens.masked_fill(mask, 11)).flatten(0, 1), labels.flatten())
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"final loss {torch.tensor(losses[-50:]).nanmean():.4f}")
