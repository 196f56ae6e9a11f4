# expect: none
"""A character model in the manner of a tutorial, zero_grad() outside of the loop."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
text = "the quick brown fox jumps over the lazy dog and runs away from the slow green turtle " * 40
letters = sorted(set(text))
ids = torch.tensor([letters.index(c) for c in text])


class CharModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(letters), 24)
        self.rnn = nn.LSTM(24, 48, batch_first=True)
        self.out = nn.Linear(48, len(letters))

    def forward(self, x):
        return self.out(self.rnn(self.embed(x))[0])


model = CharModel()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
for step in range(200):
    at = torch.randint(0, len(ids) - 33, (16,))
    chunk = torch.stack([ids[i : i + 33] for i in at])
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(chunk[:, :-1]).transpose(1, 2), chunk[:, 1:])
    loss.backward()
    optimizer.step()
chunk = ids[:33][None]
print(f"test loss: {nn.functional.cross_entropy(model(chunk[:, :-1]).transpose(1, 2), chunk[:, 1:]).item():.4f}")
