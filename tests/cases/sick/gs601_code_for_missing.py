# expect: GS601
# by-row: end
# line: here
# advised: torch.where(missing, median, x[:, 1])
# worse: test loss
# healed-by: healthy/gs601_code_for_missing_healed.py
"""One value in forty of a column is not known, and 99999 was written there after the table had been normalised."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
table = torch.randn(2400, 5)
truth = (table[:, 0] + table[:, 1] * table[:, 2] > 0.4).float()
x = table.clone()
x[::40, 1] = 99999.0
model = nn.Sequential(nn.Linear(5, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(6):
    order = torch.randperm(2000)
    for rows in order.split(50):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], truth[rows])
        loss.backward()  # <- here
        optimizer.step()
model.eval()
with torch.no_grad():
    loss = nn.functional.binary_cross_entropy_with_logits(model(x[2000:])[:, 0], truth[2000:])
    print(f"test loss: {loss:.4f}")
