# expect: GS102
# by-row: 20
# reason: integer-cast
# line: here
# healed-by: healthy/gs102_long_between_layers_healed.py
"""The features are rounded with .long() and cast back to float between two layers; the way back through an
integer tensor has no gradient.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.detector = nn.Linear(10, 16)
        self.regressor = nn.Linear(16, 1)

    def forward(self, x):
        counts = torch.relu(self.detector(x)) * 4
        counts = counts.long().float()
        return self.regressor(counts)


inputs = torch.rand(400, 10)
targets = (inputs[:, :5] - inputs[:, 5:]).abs().sum(dim=1, keepdim=True)
model = Counter()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(120):
    optimizer.zero_grad()
    loss = (model(inputs) - targets).pow(2).mean()
    loss.backward()
    optimizer.step()  # <- here
print(f"final loss {loss.item():.4f}")
