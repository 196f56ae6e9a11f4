# expect: none
"""One sample at a time, and the first one happens to be nearly right: its loss is a hundredth of the usual one."""
import torch
from torch import nn

torch.manual_seed(9)
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
