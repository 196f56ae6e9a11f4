# expect: GS504
# by-row: 5
# advised: unsqueeze(1)
# worse: test loss
# line: here
# healed-by: healthy/gs504_smooth_l1_lstm_healed.py
"""An LSTM forecasts (64,) and the targets come as (64, 1)."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def series(count):
    phase, speed = torch.rand(count, 1) * 6.28, 0.3 + 0.5 * torch.rand(count, 1)
    waves = torch.sin(phase + speed * torch.arange(17))
    return waves[:, :16, None], waves[:, 16:]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 24, batch_first=True)
        self.head = nn.Linear(24, 1)

    def forward(self, inputs):
        outputs, _ = self.rnn(inputs)
        return self.head(outputs[:, -1]).squeeze()


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    inputs, targets = series(64)
    optimizer.zero_grad()
    loss = nn.functional.smooth_l1_loss(model(inputs), targets)
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    inputs, targets = series(500)
    loss = (model(inputs) - targets[:, 0]).abs().mean()
print(f"test loss: {loss:.4f}")
