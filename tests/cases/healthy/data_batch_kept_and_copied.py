# expect: none
"""One batch learned by heart, to see whether the model can; each step moves it to the device anew, where it is copied.

Then a few rows of a table, drawn once: the others are held out.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
BATCH_SIZE = 16
table = torch.randn(400, 6)
truth = torch.tanh(table @ torch.randn(6, 1))


def train(draw, steps):
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(steps):
        x, y = draw()
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


x, y = table[:BATCH_SIZE], truth[:BATCH_SIZE]
print(train(lambda: (x.clone(), y.clone()), 140))
few = torch.randperm(len(table))[:24]
print(train(lambda: (table[few], truth[few]), 140))
