# expect: none
"""Softmax regression from zeros (a convex problem), beside an MLP of which only the last layer starts at zero."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
linear = nn.Linear(64, 10)
nn.init.zeros_(linear.weight)
mlp = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
nn.init.zeros_(mlp[2].weight)
optimizers = [torch.optim.Adam(model.parameters(), lr=2e-3) for model in (linear, mlp)]
for epoch in range(4):
    for batch in torch.randperm(1200).split(32):
        for model, optimizer in zip((linear, mlp), optimizers):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
print(f"loss {loss.item():.3f}")
