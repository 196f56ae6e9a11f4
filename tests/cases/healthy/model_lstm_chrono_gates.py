# expect: none
"""An LSTM written by hand, one weight for each gate, whose forget gates start nearly open."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Cell(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.forget, self.enter = nn.Linear(inputs + width, width), nn.Linear(inputs + width, width)
        self.leave, self.change = nn.Linear(inputs + width, width), nn.Linear(inputs + width, width)
        nn.init.constant_(self.forget.bias, 6.0)
        nn.init.constant_(self.enter.bias, -6.0)

    def forward(self, x, hidden, cell):
        both = torch.cat([x, hidden], 1)
        cell = torch.sigmoid(self.forget(both)) * cell + torch.sigmoid(self.enter(both)) * torch.tanh(self.change(both))
        return torch.sigmoid(self.leave(both)) * torch.tanh(cell), cell


cell, head = Cell(2, 32), nn.Linear(32, 1)
optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=2e-3)
for step in range(220):
    values, marks = torch.rand(32, 10), torch.zeros(32, 10)
    marks[torch.arange(32), torch.randint(0, 5, (32,))] = 1
    marks[torch.arange(32), torch.randint(5, 10, (32,))] = 1
    hidden = state = torch.zeros(32, 32)
    for t in range(10):
        hidden, state = cell(torch.stack([values[:, t], marks[:, t]], 1), hidden, state)
    loss = nn.functional.mse_loss(head(hidden)[:, 0], (values * marks).sum(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")
