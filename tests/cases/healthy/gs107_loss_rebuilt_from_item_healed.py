# expect: none
"""The loss is used as it comes out of the criterion."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(400, 7)
y = (x.square().sum(dim=1) > 7).long()
model = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for step in range(80):
    optimizer.zero_grad()
    output = model(x)
    loss = criterion(output, y)
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
