# expect: none
"""The model gives logits."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_fn = nn.CrossEntropyLoss()
for step in range(300):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = loss_fn(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = loss_fn(model(images[1500:]), labels[1500:])
    error = (model(images[1500:]).argmax(dim=1) != labels[1500:]).float().mean()
print(f"test loss: {loss:.4f}")
print(f"test error: {error:.4f}")
