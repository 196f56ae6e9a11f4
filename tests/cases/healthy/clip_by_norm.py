# expect: none
"""Gradient clipping by norm, between backward() and step(), on an LSTM."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Parity(nn.Module):
    """Which symbol stands in the middle of the sequence?"""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, 4)

    def forward(self, x):
        output, _ = self.lstm(x)
        return self.out(output[:, output.size(1) // 2])


model = Parity()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(60):
    tokens = torch.randint(0, 4, (32, 7))
    x = nn.functional.one_hot(tokens, 4).float()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), tokens[:, 3])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
print(f"final loss {loss.item():.4f}")
