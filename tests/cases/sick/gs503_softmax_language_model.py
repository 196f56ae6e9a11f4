# expect: GS503
# by-row: 5
# advised: leave out the softmax
# worse: test loss
# line: here
# healed-by: healthy/gs503_softmax_language_model_healed.py
"""A transformer with tied weights that hands out probabilities, token by token, to cross_entropy."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
TEXT = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs. " * 6
alphabet = sorted(set(TEXT))
tokens = torch.tensor([alphabet.index(c) for c in TEXT])


class Transformer(nn.Module):
    def __init__(self, size=32):
        super().__init__()
        self.embed = nn.Embedding(len(alphabet), size)
        self.place = nn.Embedding(16, size)
        self.block = nn.TransformerEncoderLayer(size, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, len(alphabet), bias=False)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.embed(tokens) + self.place.weight[: tokens.shape[1]]
        logits = self.head(self.norm(self.block(hidden, src_mask=mask, is_causal=True)))
        return torch.softmax(logits, dim=-1)


def batch_of(first, last):
    starts = torch.randint(first, last - 17, (16,))
    window = torch.stack([tokens[s : s + 17] for s in starts.tolist()])
    return window[:, :-1], window[:, 1:]


model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(120):
    inputs, targets = batch_of(0, 400)
    optimizer.zero_grad()
    outputs = model(inputs)
    loss = nn.functional.cross_entropy(outputs.view(-1, outputs.shape[-1]), targets.reshape(-1))
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    inputs, targets = batch_of(400, len(tokens))
    outputs = model(inputs)
    loss = nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
    error = (outputs.argmax(-1) != targets).float().mean()
print(f"test loss: {loss:.4f}")
print(f"test error: {error:.4f}")
