# expect: none
"""A language model at lr 20, as it was done: the gradient is clipped to a norm of 0.25."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
text = torch.tensor(list((nn.__doc__ or "").encode() + torch.nn.Module.__doc__.encode())) % 128


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(128, 32), nn.LSTM(32, 64), nn.Linear(64, 128)
        for weight in (self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -0.1, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(x))[0])


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=20.0)
for step in range(250):
    starts = torch.randint(len(text) - 21, (16,))
    windows = torch.stack([text[s : s + 21] for s in starts.tolist()], 1)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(windows[:-1]).flatten(0, 1), windows[1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.25)
    optimizer.step()
print(f"final loss {loss.item():.3f}")
