# expect: GS301
# by-row: 40
# line: here
# healed-by: healthy/gs301_grows_to_nan_healed.py
"""An LSTM without clipping and with a rate of a hundred: a few steps of growth, then no numbers. The explosion is the
cause, the NaN its consequence.
"""
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
windows = series.unfold(0, 41, 10).unsqueeze(-1)
model = Forecaster()
optimizer = torch.optim.SGD(model.parameters(), lr=30.0)
for epoch in range(60):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(windows[:, :-1]), windows[:, 1:])
    loss.backward()
    optimizer.step()  # <- here
print(f"final loss {loss.item():.4f}")
