# expect: none
"""An embedding tied to the head of a normalised model, of a deviation that fits both."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
VOCAB, DIM = 64, 256


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCAB, DIM)
        nn.init.normal_(self.table.weight, std=0.02)
        self.body = nn.Sequential(nn.Linear(2 * DIM, DIM), nn.GELU(), nn.Linear(DIM, DIM), nn.LayerNorm(DIM))
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.body(self.table(tokens).flatten(1)))


pairs = torch.randint(VOCAB, (4000, 2))
sums = (pairs[:, 0] * 3 + pairs[:, 1]) % VOCAB
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
for step in range(150):
    batch = torch.randint(3500, (64,))
    loss = nn.functional.cross_entropy(model(pairs[batch]), sums[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(pairs[3500:]), sums[3500:])
print(f"test loss: {loss:.4f}")
