# expect: GS601
# by-row: end
# line: here
# advised: x = (x -
# worse: test loss
# healed-by: healthy/gs601_raw_series_lstm_healed.py
"""A series of measurements around 100 goes into an LSTM: its gates are shut, its units flat."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 24, batch_first=True)
        self.head = nn.Linear(24, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


time = torch.arange(1200) / 10
series = 100 + 10 * torch.sin(time) + 5 * torch.sin(3.1 * time) + torch.randn(1200)
windows = series.unfold(0, 21, 4)
windows = windows[torch.randperm(len(windows))]
x, y = windows[:, :-1].unsqueeze(-1), (windows[:, -1:] - 100) / 10
model = Forecaster()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for epoch in range(25):
    for batch in torch.randperm(240).split(24):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[batch]), y[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(x[240:]), y[240:]):.4f}")
