# expect: none
"""Adversarial training with FGSM: each step first runs a backward to get the gradient of the input, whose by-
product in the model is cleared with model.zero_grad() before the real backward.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
EPSILON = 0.05


def fgsm(model, criterion, x, y):
    x = x.clone().requires_grad_(True)
    criterion(model(x), y).backward()
    return (x + EPSILON * x.grad.sign()).clamp(0, 1).detach()


x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for step in range(100):
    rows = torch.randint(0, len(x), (64,))
    attacked = fgsm(model, criterion, x[rows], y[rows])
    model.zero_grad()
    loss = criterion(model(attacked), y[rows])
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
