# expect: none
"""Eight layers with ReLU between them, and the initialisation that belongs to it."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
layers = [nn.Linear(64, 48)]
for _ in range(7):
    layers += [nn.ReLU(), nn.Linear(48, 48)]
model = nn.Sequential(*layers, nn.ReLU(), nn.Linear(48, 10))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
for step in range(600):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(images[1500:]), labels[1500:])
print(f"test loss: {loss:.4f}")
