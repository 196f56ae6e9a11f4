# expect: GS303
# by-row: 500
# line: here
# healed-by: healthy/gs303_exponential_per_batch_healed.py
"""gamma is meant for epochs, and the scheduler is stepped once per batch."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
for epoch in range(25):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        scheduler.step()  # <- here
with torch.no_grad():
    right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
    loss = nn.functional.cross_entropy(model(images[:1500]), labels[:1500])
print(f"test accuracy {right:.3f}, final loss {loss:.4f}")
