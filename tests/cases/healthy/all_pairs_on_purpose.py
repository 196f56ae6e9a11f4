# expect: none
"""Losses that compare all pairs: distances between two batches, a kernel, a ranking, an ensemble's spread; and the
spread of the outputs about each other, squared and averaged.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
hidden_rule = torch.randn(6, 1)
model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
embed = nn.Linear(6, 3)
optimizer = torch.optim.Adam([*model.parameters(), *embed.parameters()], lr=3e-3)
for step in range(150):
    x = torch.randn(32, 6)
    y = torch.tanh(x @ hidden_rule)
    scores = model(x)
    loss = nn.functional.mse_loss(scores, y)
    # ranking: differences of scores against differences of targets
    loss = loss + 0.1 * ((scores - scores.t()) - (y - y.t())).square().mean()
    # the same by indexing; all pairs of scores and targets, by a soft assignment
    flat, wanted = scores[:, 0], y[:, 0]
    loss = loss + 0.01 * ((flat[:, None] - flat[None, :]) ** 2).mean()
    loss = loss + 0.01 * (flat.unsqueeze(1) - wanted.unsqueeze(0)).abs().mean()
    loss = loss + 0.01 * nn.functional.mse_loss(flat.unsqueeze(1).expand(32, 32), wanted.expand(32, 32))
    # MMD of embeddings
    a, b = embed(x), torch.randn(32, 3)
    near = torch.exp(-(a[:, None] - b[None]).square().sum(-1)).mean()
    loss = loss + torch.exp(-(a[:, None] - a[None]).square().sum(-1)).mean() - 2 * near + 1
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
