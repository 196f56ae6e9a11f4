# expect: none
"""Truncated back-propagation through time on an LSTM: the state is carried between the chunks, but detached; it
starts anew at each epoch.
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_num_threads(1)

TEXT = "to be or not to be that is the question whether it is nobler in the mind to suffer " * 10
alphabet = sorted(set(TEXT))
codes = torch.tensor([alphabet.index(c) for c in TEXT])
columns = codes[: len(codes) // 10 * 10].view(10, -1)


class CharRNN(nn.Module):
    def __init__(self, size, hidden=48):
        super().__init__()
        self.embedding = nn.Embedding(size, 16)
        self.lstm = nn.LSTM(16, hidden, batch_first=True)
        self.decoder = nn.Linear(hidden, size)

    def forward(self, tokens, state=None):
        output, state = self.lstm(self.embedding(tokens), state)
        return self.decoder(output), state


def repackage(state):
    return tuple(s.detach() for s in state)


model = CharRNN(len(alphabet))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(12):
    state = None
    for start in range(0, columns.size(1) - 16, 16):
        inputs, targets = columns[:, start:start + 16], columns[:, start + 1:start + 17]
        if state is not None:
            state = repackage(state)
        logits, state = model(inputs, state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
print(f"final loss {loss.item():.4f}")
