# expect: none
"""Each column is brought to mean 0 and standard deviation 1."""
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
diabetes = load_diabetes(scaled=False)
x = torch.tensor(diabetes.data, dtype=torch.float32)
y = torch.tensor(diabetes.target, dtype=torch.float32).unsqueeze(1)
y = (y - y.mean()) / y.std()
x = (x - x.mean(0)) / x.std(0)
model = nn.Linear(10, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(12):
    for batch in torch.randperm(360).split(24):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(x[360:]), y[360:]):.4f}")
