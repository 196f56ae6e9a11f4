# expect: GS102
# by-row: 20
# reason: detached
# line: here
# healed-by: healthy/gs102_detached_by_data_healed.py
"""An old habit, .data, between the LSTM and the classifier cuts the graph as silently as detach() does."""
import torch
from torch import nn


class Tagger(nn.Module):
    """Says which of three symbols came first in a sequence."""

    def __init__(self, vocabulary=6, size=24):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.lstm = nn.LSTM(size, size, batch_first=True)
        self.classifier = nn.Linear(size, 3)

    def forward(self, tokens):
        output, _ = self.lstm(self.embedding(tokens))
        last = output[:, -1].data
        return self.classifier(last)


torch.manual_seed(0)
torch.set_num_threads(1)
tokens = torch.randint(0, 6, (2000, 5))
labels = tokens[:, 0] % 3

model = Tagger()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
loss_fn = nn.CrossEntropyLoss()
for step in range(100):
    pick = torch.randint(0, 2000, (64,))
    logits = model(tokens[pick])
    loss = loss_fn(logits, labels[pick])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()  # <- here

print(f"final loss {loss.item():.4f}")
