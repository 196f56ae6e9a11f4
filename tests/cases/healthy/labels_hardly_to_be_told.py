# expect: none
"""Clicks: one in ten, and next to nothing of it can be told. The loss stays within a few percent of a guess."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(6400, 8)
y = (torch.rand(6400) < torch.sigmoid(0.5 * x[:, 0] - 0.4 * x[:, 1] - 2.3)).float()
loader = DataLoader(TensorDataset(x[:6000], y[:6000]), batch_size=64, shuffle=True)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(9.0))
for epoch in range(6):
    for features, target in loader:
        optimizer.zero_grad()
        loss = criterion(model(features).squeeze(1), target)
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {criterion(model(x[6000:]).squeeze(1), y[6000:]):.4f}")
