# expect: none
"""Weight decays that the gradient balances: a strong one with AdamW, batch normalisation, and modular addition."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def mlp(*norm):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), *norm, nn.ReLU(), nn.Linear(64, 10))


def train(name, model, optimizer, epochs=12):
    for _ in range(epochs):
        for batch in torch.randperm(1500).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
    print(f"{name} loss {loss.item():.4f}")


model = mlp()
train("AdamW", model, torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.3))
model = mlp(nn.BatchNorm1d(64))
train("batch norm", model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3))
model = mlp()
train("regularised", model, torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.05))

a, b = torch.arange(31).repeat_interleave(31), torch.arange(31).repeat(31)
pairs = torch.cat([nn.functional.one_hot(a, 31), nn.functional.one_hot(b, 31)], dim=1).float()
train_on = torch.randperm(961)[:480]
model = nn.Sequential(nn.Linear(62, 96), nn.ReLU(), nn.Linear(96, 31))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1.0, betas=(0.9, 0.98))
for _ in range(400):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(pairs[train_on]), ((a + b) % 31)[train_on])
    loss.backward()
    optimizer.step()
print(f"modular addition loss {loss.item():.4f}")
