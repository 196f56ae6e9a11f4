# expect: GS504
# by-row: 5
# advised: squeeze(1)
# worse: test loss
# line: here
# healed-by: healthy/gs504_mse_mlp_healed.py
"""Predictions of shape (64, 1) against targets of shape (64,): every one with every one."""
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = load_diabetes()
inputs = torch.tensor(data.data, dtype=torch.float32) * 20
targets = torch.tensor((data.target - data.target.mean()) / data.target.std(), dtype=torch.float32)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
loss_fn = nn.MSELoss()
for step in range(150):
    batch = torch.randint(350, (64,))
    optimizer.zero_grad()
    loss = loss_fn(model(inputs[batch]), targets[batch])
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    loss = (model(inputs[350:])[:, 0] - targets[350:]).square().mean()
print(f"test loss: {loss:.4f}")
