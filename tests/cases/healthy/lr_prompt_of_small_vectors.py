# expect: none
"""Prompt vectors of 0.01 in front of a frozen network, at lr 0.01: each step is as large as they are."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
first = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(150):
    batch = torch.randint(1500, (64,))
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients):
        parameter.grad = gradient
    first.step()
del first
model.requires_grad_(False)
prompt = nn.Parameter(0.01 * torch.randn(1, 64))
offset = 0.5 * torch.randn(1, 64)  # the images have a fault that the prompt can take out
optimizer = torch.optim.Adam([prompt], lr=0.01)
for step in range(400):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch] + offset + prompt), labels[batch])
    loss.backward()
    optimizer.step()
right = (model(images[1500:] + offset + prompt).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
