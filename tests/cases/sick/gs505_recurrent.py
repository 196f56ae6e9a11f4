# expect: GS505
# by-row: 20
# advised: weight_hh
# worse: test loss
# line: here
# healed-by: healthy/gs505_recurrent_healed.py
"""A recurrent network whose weights are all drawn with a deviation of 3: its gates are shut or open for good."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(1200, 12, 4)
labels = (inputs[:, 2:6, 0].sum(1) > 0).long()
rnn, head = nn.LSTM(4, 24, batch_first=True), nn.Linear(24, 2)
for parameter in rnn.parameters():
    nn.init.normal_(parameter, std=3.0)
optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=5e-3)
for step in range(300):
    batch = torch.randint(1000, (64,))
    loss = nn.functional.cross_entropy(head(rnn(inputs[batch])[0][:, -1]), labels[batch])
    optimizer.zero_grad()
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(head(rnn(inputs[1000:])[0][:, -1]), labels[1000:])
print(f"test loss: {loss:.4f}")
