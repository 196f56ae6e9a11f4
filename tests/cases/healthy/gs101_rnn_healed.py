# expect: none
"""A GRU that learns to sum a sequence, with clipping and zero_grad()."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 16, batch_first=True)
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        _, h = self.rnn(x)
        return self.out(h[-1])


model = Adder()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
criterion = nn.MSELoss()
history = []
for step in range(100):
    sequence = torch.rand(32, 10, 1) - 0.5
    target = sequence.sum(dim=1)
    optimizer.zero_grad()
    loss = criterion(model(sequence), target)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    history.append(loss.item())

print(f"final loss {sum(history[-10:]) / 10:.4f}")
