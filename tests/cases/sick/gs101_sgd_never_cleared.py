# expect: GS101
# by-row: 1
# line: here
# healed-by: healthy/gs101_sgd_never_cleared_healed.py
"""A digit classifier whose author forgot zero_grad(): every SGD step uses the sum of all gradients since the
start, so the run behaves like a huge momentum and ends up far from where it should.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

digits = load_digits()
images = torch.tensor(digits.data / 16.0, dtype=torch.float32)
targets = torch.tensor(digits.target)

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
loss_fn = nn.CrossEntropyLoss()
optim = torch.optim.SGD(model.parameters(), lr=0.2)

for step in range(100):
    batch = torch.randint(0, len(images), (64,))
    loss = loss_fn(model(images[batch]), targets[batch])
    loss.backward()  # <- here
    optim.step()

with torch.no_grad():
    final = loss_fn(model(images), targets).item()
print(f"final loss {final:.4f}")
