# expect: none
"""The scheduler steps after the optimizer: each learning rate of the schedule is used once."""
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

torch.manual_seed(0)
torch.set_num_threads(1)
STEPS = 6
X = torch.randn(300, 8)
Y = X @ torch.randn(8, 1)


def train(model, optimizer, lr_scheduler):
    for step in range(STEPS):
        loss = nn.functional.mse_loss(model(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lr_scheduler.step()


model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.45)
train(model, optimizer, LambdaLR(optimizer, lambda step: 1 - step / STEPS))
print(f"final loss {nn.functional.mse_loss(model(X), Y).item():.6f}")
