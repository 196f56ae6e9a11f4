# expect: GS108
# by-row: 40
# line: here
# healed-by: healthy/gs108_head_of_epoch_healed.py
"""An example from before PyTorch 1.1: the scheduler steps at the head of each epoch, and the largest learning rate, the
first one, is never used."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
scheduler = ExponentialLR(optimizer, gamma=0.2)

for epoch in range(4):
    scheduler.step()  # <- here
    for rows in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        loss = criterion(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.4f}")

with torch.no_grad():
    print(f"final loss {criterion(model(x), y).item():.4f}")
