# expect: none
"""One value in forty of a column is not known: its median stands there, and a column of 0 and 1 says so."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
table = torch.randn(2400, 5)
truth = (table[:, 0] + table[:, 1] * table[:, 2] > 0.4).float()
x = table.clone()
x[::40, 1] = 99999.0
missing = x[:, 1] == 99999
x[:, 1] = torch.where(missing, table[:, 1].median(), x[:, 1])
x = torch.cat([x, missing[:, None].float()], dim=1)
model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(6):
    order = torch.randperm(2000)
    for rows in order.split(50):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], truth[rows])
        loss.backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    loss = nn.functional.binary_cross_entropy_with_logits(model(x[2000:])[:, 0], truth[2000:])
    print(f"test loss: {loss:.4f}")
