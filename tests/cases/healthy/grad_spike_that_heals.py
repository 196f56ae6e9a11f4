# expect: none
"""One batch with a gradient fifty times the usual: the loss jumps, and is back after some steps."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
step = 0
for epoch in range(10):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch] * (30 if step == 60 else 1)), labels[batch])
        loss.backward()
        optimizer.step()
        step += 1
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:]), labels[1500:]):.4f}")
