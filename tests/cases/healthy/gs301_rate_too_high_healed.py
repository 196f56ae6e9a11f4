# expect: none
"""The same net at a rate that it can follow."""
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = load_diabetes()
inputs = torch.tensor(data.data, dtype=torch.float32) * 20
targets = torch.tensor(data.target, dtype=torch.float32).unsqueeze(1)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
for epoch in range(20):
    for batch in torch.randperm(442).split(32):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs[batch]), targets[batch])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"final loss {nn.functional.mse_loss(model(inputs), targets):.1f}")
