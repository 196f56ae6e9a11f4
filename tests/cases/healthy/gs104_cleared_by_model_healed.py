# expect: none
"""model.zero_grad() is called before the forward."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

sequence = torch.sin(torch.arange(0, 60, 0.25))
windows = sequence.unfold(0, 9, 1)
x, y = windows[:, :8].unsqueeze(-1), windows[:, 8:]


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 16, batch_first=True)
        self.linear = nn.Linear(16, 1)

    def forward(self, x):
        return self.linear(self.rnn(x)[0][:, -1])


model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(60):
    model.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
