# expect: none
"""A regression that is given another task half-way: loss and gradients jump, and the new task is learned."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
for step in range(900):
    x = torch.randn(64, 6)
    y = x[:, :2].sum(1, keepdim=True) if step < 450 else 6 * x[:, 2:].sum(1, keepdim=True) + 20
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
print(f"last loss {loss:.4f}")
