# expect: none
"""A small transformer with Adam at lr 0.5: thrown far at once, then a plateau."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Sorter(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 32)
        self.place = nn.Parameter(torch.randn(10, 32) * 0.02)
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True), 2)
        self.head = nn.Linear(32, 12)

    def forward(self, x):
        return self.head(self.blocks(self.embed(x) + self.place))


model = Sorter()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(250):
    x = torch.randint(0, 12, (32, 10))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x).flatten(0, 1), x.sort(1).values.flatten())
    loss.backward()
    optimizer.step()
x = torch.randint(0, 12, (64, 10))
print(f"test loss: {nn.functional.cross_entropy(model(x).flatten(0, 1), x.sort(1).values.flatten()).item():.3f}")
