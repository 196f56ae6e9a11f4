# expect: none
"""An LSTM whose log-probabilities go into NLLLoss."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, rows):
        outputs, _ = self.rnn(rows)
        return torch.log_softmax(self.head(outputs[:, -1]), dim=1)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
loss_fn = nn.NLLLoss()
for step in range(150):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = loss_fn(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(images[1500:]), labels[1500:])
    error = (model(images[1500:]).argmax(dim=1) != labels[1500:]).float().mean()
print(f"test loss: {loss:.4f}")
print(f"test error: {error:.4f}")
