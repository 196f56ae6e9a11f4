# expect: none
"""One sample at a time, targets with a heavy tail: gradients a hundred times the usual, which leave no harm."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
noise = torch.distributions.StudentT(3.0)
for step in range(1500):
    x = torch.randn(1, 6)
    optimizer.zero_grad()
    loss = (model(x) - x.sum(1, keepdim=True) - noise.sample((1, 1))).square().mean()
    loss.backward()
    optimizer.step()
print(f"last loss {loss:.3f}")
