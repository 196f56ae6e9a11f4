# expect: none
"""The same coordinates each step, another picture to fit from the loader, and a loss written out by hand."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[:1280], labels[:1280]), batch_size=16, shuffle=True)
grid = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8))
field = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(field.parameters(), lr=0.003)
for pictures, _ in loader:
    optimizer.zero_grad()
    loss = ((field(grid).squeeze(1) - pictures) ** 2).mean()
    loss.backward()
    optimizer.step()
