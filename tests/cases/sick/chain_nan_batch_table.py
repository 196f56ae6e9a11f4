# expect: GS605
# then: GS201
# by-row: end
# line: here
# worse: test loss
# healed-by: healthy/chain_nan_batch_table_healed.py
"""A regression on a table whose 5th column is divided by its range, which is 0 in one file of ten."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
files = []
for number in range(30):
    table = torch.randn(40, 6)
    if number == 17:
        table[:, 4] = 1.5
    files.append((table, table[:, :4].sum(1, keepdim=True).sin()))
model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(6):
    for table, target in files:
        features = table.clone()
        span = table[:, 4].max() - table[:, 4].min()
        features[:, 4] = (table[:, 4] - table[:, 4].min()) / span
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(features), target)
        loss.backward()  # <- here
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.mse_loss(model(files[0][0]), files[0][1]).item():.4f}")
