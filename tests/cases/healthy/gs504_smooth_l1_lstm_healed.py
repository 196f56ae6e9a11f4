# expect: none
"""An LSTM forecasts what has the targets' shape."""
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
    loss = nn.functional.smooth_l1_loss(model(inputs).unsqueeze(1), targets)
    loss.backward()
    optimizer.step()
with torch.no_grad():
    inputs, targets = series(500)
    loss = (model(inputs) - targets[:, 0]).abs().mean()
print(f"test loss: {loss:.4f}")
