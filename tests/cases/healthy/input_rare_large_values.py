# expect: none
"""A table as it is found: logarithms of amounts with a heavy tail, counts that are mostly 0, yes or no, -1: unknown.

The second model takes amounts as they are, behind a normalisation of its own.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
amount = torch.exp(1.6 * torch.randn(1600))
count = torch.poisson(torch.full((1600,), 0.2))
yes = (torch.rand(1600) < 0.05).float()
share = torch.where(torch.rand(1600) < 0.1, torch.tensor(-1.0), torch.rand(1600))
y = (0.8 * amount.log() + count - yes + share).sin() + 0.1 * torch.randn(1600)


def train(model, x):
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        for rows in torch.randperm(1600).split(50):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x[rows])[:, 0], y[rows])
            loss.backward()
            optimizer.step()
    return loss.item()


def net():
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


print(train(net(), torch.stack([amount.log(), count, yes, share], dim=1)))
print(train(nn.Sequential(nn.BatchNorm1d(4), *net()), torch.stack([amount, count, yes, share], dim=1)))
