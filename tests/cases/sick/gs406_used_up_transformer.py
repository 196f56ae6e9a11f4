# expect: GS406
# by-row: 8
# line: here
# advised: give it the parameters anew
# worse: test loss
# healed-by: healthy/gs406_used_up_transformer_healed.py
"""The optimizer has read the filter to its end: nothing is left for the clip."""
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
        self.embedding, self.place = nn.Embedding(128, 32), nn.Parameter(0.1 * torch.randn(20, 1, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 128, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(len(x))
        return self.head(self.body(self.embedding(x) + self.place[: len(x)], mask=mask))


model = Model()
trained = filter(lambda p: p.requires_grad, model.parameters())
optimizer = torch.optim.SGD(trained, lr=3.0)
for step in range(200):
    batch = windows(torch.randint(held_out - 21, (16,)).tolist())
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(batch[:-1]).flatten(0, 1), batch[1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(trained, 0.1)  # <- here
    optimizer.step()
with torch.no_grad():
    test = windows(list(range(held_out, len(text) - 21, 7)))
    print(f"test loss: {nn.functional.cross_entropy(model(test[:-1]).flatten(0, 1), test[1:].flatten()):.4f}")
