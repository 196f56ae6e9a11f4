# expect: none
"""Schedulers after a break: loaded from a checkpoint, wound forward by hand, and made with last_epoch; each steps at
the head of its first epoch.
"""
import warnings

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR, OneCycleLR

warnings.filterwarnings("ignore")
torch.manual_seed(0)
torch.set_num_threads(1)
X = torch.randn(200, 6)
Y = X.sum(1, keepdim=True)


def epoch_of(model, optimizer):
    for rows in torch.randperm(200).split(40):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(X[rows]), Y[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


model = nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
scheduler = MultiStepLR(optimizer, [2, 4])
for epoch in range(3):
    epoch_of(model, optimizer)
    scheduler.step()
checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}

model = nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
scheduler = MultiStepLR(optimizer, [2, 4])
model.load_state_dict(checkpoint["model"])
optimizer.load_state_dict(checkpoint["optimizer"])
scheduler.load_state_dict(checkpoint["scheduler"])
for epoch in range(3, 6):
    scheduler.step()
    epoch_of(model, optimizer)

optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
scheduler = LambdaLR(optimizer, lambda epoch: 0.9**epoch)
for epoch in range(6):
    if epoch >= 3:
        epoch_of(model, optimizer)
    scheduler.step()

optimizer = torch.optim.SGD([{"params": model.parameters(), "initial_lr": 0.05}], lr=0.05)
scheduler = LambdaLR(optimizer, lambda epoch: 0.9**epoch, last_epoch=5)
for epoch in range(6, 9):
    scheduler.step()
    epoch_of(model, optimizer)

optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
scheduler = OneCycleLR(optimizer, 0.1, total_steps=10)
for epoch in range(10):
    last = epoch_of(model, optimizer)
    scheduler.step()
print(f"final loss {last:.6f}")
