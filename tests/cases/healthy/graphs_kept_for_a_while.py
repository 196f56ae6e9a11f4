# expect: none
"""Old graphs that are kept on purpose, or not for long: a window of losses, the best one, sums that are reset, losses
summed before one backward, objects in reference cycles, and a hidden state whose whole history backward goes through.
"""
from collections import deque

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
X = torch.randn(256, 6)
Y = X.sum(1, keepdim=True).sin()
model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)


class Outcome:
    def __init__(self, loss):
        self.loss = loss
        self.report = lambda: self.loss.item()


window, best, last_ten = deque(maxlen=100), None, 0.0
for step in range(400):
    rows = torch.randint(0, 256, (32,))
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(X[rows]), Y[rows])
    loss.backward()
    optimizer.step()
    window.append(loss)
    best = loss if best is None or loss < best else best
    last_ten = loss if step % 10 == 0 else last_ten + loss
    outcome = Outcome(loss)
print(f"final loss {loss.item():.4f}, mean of the window {torch.stack(list(window)).mean().item():.4f}")

for step in range(5):
    total = 0.0
    for rows in torch.randperm(256).split(8):
        total = total + nn.functional.mse_loss(model(X[rows]), Y[rows])
    optimizer.zero_grad()
    (total / 32).backward()
    optimizer.step()

cell = nn.GRUCell(6, 8)
readout = nn.Linear(8, 1)
online = torch.optim.SGD(readout.parameters(), lr=0.01)
for p in cell.parameters():
    p.requires_grad_(False)
state = torch.zeros(1, 8, requires_grad=True)
for step in range(60):
    state = cell(X[step:step + 1], state)
    loss = nn.functional.mse_loss(readout(state), Y[step:step + 1])
    online.zero_grad()
    loss.backward(retain_graph=True)
    online.step()
print(f"online loss {loss.item():.4f}")
