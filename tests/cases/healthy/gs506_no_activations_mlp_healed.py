# expect: none
"""Four linear layers with ReLU between them."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(2000, 4)
labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
model = nn.Sequential(
    nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(600):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(inputs[1500:]), labels[1500:])
print(f"test loss: {loss:.4f}")
