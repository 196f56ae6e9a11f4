# expect: none
"""Everything in double precision (set_default_dtype), full batch, Rprop."""
import torch
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
torch.set_num_threads(1)

t = torch.linspace(0, 1, 150).unsqueeze(1)
signal = torch.sin(6 * t) * torch.exp(-t)
model = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
optimizer = torch.optim.Rprop(model.parameters(), lr=0.01)
for epoch in range(100):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(t), signal)
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
