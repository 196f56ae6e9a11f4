# expect: GS204
# by-row: end
# line: here
# advised: shuffled, sorted or filtered
# worse: test loss
# healed-by: healthy/gs204_weighted_labels_of_another_order_healed.py
"""The rows of a table were sorted and their labels were not; one label in eight is 1, and the loss is weighted."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(2400, 6)
y = (x[:, 0] + x[:, 1] * x[:, 2] > 1.6).float()
order = torch.argsort(x[:, 5])
train_x, train_y = x[order][:2000], y[:2000]
test_x, test_y = x[order][2000:], y[order][2000:]
loader = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
criterion = nn.BCEWithLogitsLoss(pos_weight=(train_y == 0).sum() / train_y.sum())
for epoch in range(5):
    for features, target in loader:
        optimizer.zero_grad()
        loss = criterion(model(features).squeeze(1), target)
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {criterion(model(test_x).squeeze(1), test_y):.4f}")
