# expect: none
"""A network that knows the digits is tuned further at lr 1e-5: the loss is low and hardly moves."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
first = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(300):
    batch = torch.randint(1500, (64,))
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients):
        parameter.grad = gradient
    first.step()
for parameter in model.parameters():
    parameter.grad = None
del first
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
for step in range(300):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
