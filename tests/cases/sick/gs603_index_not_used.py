# expect: GS603
# by-row: end
# line: here
# advised: does it use its index
# worse: test loss
# healed-by: healthy/gs603_index_not_used_healed.py
"""The data set cuts the same window out of its series, whatever index it is asked for."""
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)
torch.set_num_threads(1)


class Windows(Dataset):
    def __init__(self, series):
        self.series = series

    def __len__(self):
        return len(self.series) - 21

    def __getitem__(self, index):
        start = 0
        window = self.series[start : start + 21].unsqueeze(1)
        return window[:-1], window[-1]


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


time = torch.arange(900) / 8
series = torch.sin(time) + 0.5 * torch.sin(3.1 * time)
train, test = Windows(series[:700]), Windows(series[700:])
model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
loader = DataLoader(train, batch_size=32, shuffle=True)
for epoch in range(6):
    for x, y in loader:  # <- here
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
with torch.no_grad():
    x, y = next(iter(DataLoader(test, batch_size=len(test))))
    print(f"test loss: {nn.functional.mse_loss(model(x), y):.4f}")
