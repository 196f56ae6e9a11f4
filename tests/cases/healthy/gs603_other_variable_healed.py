# expect: none
"""The model is given what the loop has."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 10)
)
images = images.reshape(-1, 1, 8, 8)
loader = DataLoader(TensorDataset(images[:1280], labels[:1280]), batch_size=32, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
x, y = next(iter(loader))
print("one batch:", x.shape, y.shape)
for epoch in range(3):
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1280:]), labels[1280:]):.4f}")
