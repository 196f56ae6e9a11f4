# expect: GS701
# by-row: end
# line: here
# advised: keep the weights in float32: leave the model as it is made, and run forward and loss under
# worse: test loss
# healed-by: healthy/gs701_transformer_healed.py
"""A transformer in bfloat16 throughout, with a usual lr for larger ones."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
text = torch.tensor(list((nn.__doc__ or "").encode() + nn.Module.__doc__.encode() + nn.LSTM.__doc__.encode())) % 128
held_out = len(text) - 800


def windows(starts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    several = torch.stack([text[start : start + 33] for start in starts])
    return several[:, :-1], several[:, 1:].flatten()


class Transformer(nn.Module):
    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.embedding, self.place = nn.Embedding(128, size), nn.Parameter(0.02 * torch.randn(32, size))
        nn.init.normal_(self.embedding.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(size, 2, 64, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(size, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embedding(x) + self.place
        mask = nn.Transformer.generate_square_subsequent_mask(32, dtype=h.dtype)
        return self.head(self.blocks(h, mask=mask)).flatten(0, 1)


model = Transformer().bfloat16()
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-5)
for step in range(250):
    x, y = windows(torch.randint(held_out - 33, (8,)).tolist())
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x).float(), y)
    loss.backward()
    optimizer.step()  # <- here
with torch.no_grad():
    x, y = windows(list(range(held_out, len(text) - 33, 16)))
    print(f"test loss: {nn.functional.cross_entropy(model(x).float(), y):.4f}")
