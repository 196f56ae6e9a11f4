# expect: none
"""An LSTM with one output for two classes, and a sigmoid."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def series(count):
    steps = torch.randn(count, 12, 1)
    return steps, (steps[:, :, 0].sum(1) > 0).float()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, inputs):
        outputs, _ = self.rnn(inputs)
        return self.head(outputs[:, -1])


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(120):
    inputs, labels = series(64)
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], labels)
    loss.backward()
    optimizer.step()
with torch.no_grad():
    inputs, labels = series(500)
    loss = nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], labels)
print(f"test loss: {loss:.4f}")
