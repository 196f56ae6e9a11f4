# expect: none
"""One side is stretched, and meant to be: quantiles against one target, an ensemble against one batch, one target for
all, a column of weights, quantiles against quantiles (as many as samples), a batch of one.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
hidden_rule = torch.randn(6, 1)
quantiles = torch.linspace(0.05, 0.95, 16)
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16))
members = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(16))
optimizer = torch.optim.Adam([*model.parameters(), *members.parameters()], lr=3e-3)
for step in range(120):
    count = 1 if step == 2 else 16
    x = torch.randn(count, 6)
    y = torch.tanh(x @ hidden_rule) + 0.1 * torch.randn(count, 1)
    predicted = model(x)
    loss = nn.functional.smooth_l1_loss(predicted, y.expand_as(predicted))
    error = y - predicted
    loss = loss + torch.maximum(quantiles * error, (quantiles - 1) * error).mean()
    loss = loss + 0.1 * ((predicted - y) ** 2).mean()
    together = torch.stack([member(x) for member in members])
    loss = loss + ((together - y) ** 2).mean() + nn.functional.mse_loss(together, y.expand_as(together))
    loss = loss + 0.01 * ((together.mean(1) - y.mean(0)) ** 2).mean()
    weight = torch.rand(count, 1)
    loss = loss + (weight * (members[0](x) - y).square()).mean()
    with torch.no_grad():
        later = model(x) * 0.9 + 0.1
    apart = later.unsqueeze(1) - predicted.unsqueeze(2)
    huber = nn.functional.huber_loss(apart, torch.zeros_like(apart), reduction="none")
    loss = loss + (huber * (quantiles[:, None] - (apart < 0).float()).abs()).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
