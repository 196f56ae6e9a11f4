# expect: none
"""A forecaster of a measured series: windows with a missing value are left out."""
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
        return self.head(self.lstm(x)[0])


time = torch.linspace(0, 60, 1200)
series = torch.sin(time) + 0.5 * torch.sin(3.1 * time)
series[[350, 351]] = float("nan")
windows = series.unfold(0, 41, 5).unsqueeze(-1)
windows = windows[torch.isfinite(windows).flatten(1).all(1)]
print(len(windows), "windows")
model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(8):
    for rows in torch.randperm(len(windows) - 60).split(16):
        window = windows[rows]
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(window[:, :-1]), window[:, 1:])
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(windows[-60:, :-1]), windows[-60:, 1:]).item():.4f}")
