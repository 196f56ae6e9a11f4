# expect: none
"""Of a language model only the embedding is clipped, on purpose."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
text = torch.tensor(list((nn.__doc__ or "").encode() + nn.Module.__doc__.encode() + nn.LSTM.__doc__.encode())) % 128
held_out = len(text) - 700


def windows(starts: list[int], length: int = 21) -> torch.Tensor:
    return torch.stack([text[s : s + length] for s in starts], 1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(128, 32), nn.LSTM(32, 64), nn.Linear(64, 128)
        for weight in (self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -0.1, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(x))[0])


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
for step in range(200):
    batch = windows(torch.randint(held_out - 21, (16,)).tolist())
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(batch[:-1]).flatten(0, 1), batch[1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.embedding.parameters(), 0.05)
    optimizer.step()
with torch.no_grad():
    test = windows(list(range(held_out, len(text) - 21, 7)))
    print(f"test loss: {nn.functional.cross_entropy(model(test[:-1]).flatten(0, 1), test[1:].flatten()):.4f}")
