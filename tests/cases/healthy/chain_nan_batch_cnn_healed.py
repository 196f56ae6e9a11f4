# expect: none
"""One image of 1200 has a NaN: when its batch comes, the loss is NaN, then every weight, and every loss after it."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
images[777, 0, 3, 3] = float("nan")
keep = torch.isfinite(images).flatten(1).all(1)
images, labels = images[keep], labels[keep]
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
    nn.Flatten(), nn.Linear(512, 10),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(4):
    total = 0.0
    for batch in torch.randperm(1199).split(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: {total / 30:.4f}")
print(f"test loss: {nn.functional.cross_entropy(model(images[1199:]), labels[1199:]).item():.3f}")
