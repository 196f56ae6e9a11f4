# expect: none
"""A fresh optimizer is built for the same model at each epoch, with a smaller learning rate, instead of using a
scheduler.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
rate = 0.4
for epoch in range(4):
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for rows in torch.randperm(len(x)).split(64):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    rate *= 0.7
print(f"final loss {loss.item():.4f}")
