# expect: none
"""An MLP on digits that lie sorted by class, and a loader that shuffles them."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
train, test = torch.arange(1797) % 5 > 0, torch.arange(1797) % 5 == 0
order = labels[train].argsort(stable=True)
dataset = TensorDataset(images[train][order], labels[train][order])
loader = DataLoader(dataset, batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(8):
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {loss_fn(model(images[test]), labels[test]).item():.4f}")
