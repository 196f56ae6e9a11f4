# expect: none
"""The same, both shuffled alike."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(9):
    order = torch.randperm(1500)
    train_images, train_labels = images[order], labels[order]
    for start in range(0, 1500, 32):
        batch = slice(start, start + 32)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(train_images[batch]), train_labels[batch])
        loss.backward()
        optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
