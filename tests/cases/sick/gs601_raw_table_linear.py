# expect: GS601
# by-row: end
# line: here
# advised: x = (x - torch.tensor([
# worse: test loss
# healed-by: healthy/gs601_raw_table_linear_healed.py
"""Linear regression on a raw table of ages and blood values: it explodes at once, at a usual learning rate."""
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
diabetes = load_diabetes(scaled=False)
x = torch.tensor(diabetes.data, dtype=torch.float32)
y = torch.tensor(diabetes.target, dtype=torch.float32).unsqueeze(1)
y = (y - y.mean()) / y.std()
model = nn.Linear(10, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(12):
    for batch in torch.randperm(360).split(24):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[batch]), y[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(x[360:]), y[360:]):.4f}")
