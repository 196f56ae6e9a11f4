# expect: none
"""The hidden state is detached between the chunks (truncated back-propagation through time)."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

signal = torch.sin(torch.arange(0, 200, 0.2)).view(1, -1, 1)
rnn = nn.RNN(1, 16, batch_first=True)
readout = nn.Linear(16, 1)
parameters = list(rnn.parameters()) + list(readout.parameters())
optimizer = torch.optim.Adam(parameters, lr=0.01)

hidden = torch.zeros(1, 1, 16)
for start in range(0, 980, 20):
    chunk = signal[:, start:start + 20]
    target = signal[:, start + 1:start + 21]
    hidden = hidden.detach()
    output, hidden = rnn(chunk, hidden)
    loss = nn.functional.mse_loss(readout(output), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
