# expect: GS901
# line: here
# advised: stop at step 69
# worse: test loss
# healed-by: healthy/gs901_logged_lstm_healed.py
"""An LSTM that reads 150 digits row by row for 70 epochs, a fifth of them with a wrong label; the
loop hands in what its validation says.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

import gradscope

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)
order = torch.randperm(len(images))
train, val, test = order[:150], order[150:600], order[600:]
noisy = labels.clone()
noisy[train[:30]] = torch.randint(10, (30,))


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 48, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, rows):
        return self.head(self.lstm(rows)[0][:, -1])


def loss_on(chosen):
    with torch.no_grad():
        return -model(images[chosen]).log_softmax(1)[torch.arange(len(chosen)), labels[chosen]].mean()


model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
with gradscope.watch(model, optimizer) as scope:
    for epoch in range(70):
        for batch in train[torch.randperm(150)].split(30):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), noisy[batch])
            loss.backward()
            optimizer.step()
        scope.log(val_loss=loss_on(val))  # <- here
print(f"test loss: {loss_on(test):.4f}")
