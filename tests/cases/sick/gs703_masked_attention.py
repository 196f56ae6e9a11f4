# expect: GS703
# by-row: end
# line: here
# advised: leave each row at least one position that is not masked
# worse: test loss
# healed-by: healthy/gs703_masked_attention_healed.py
"""Some sequences are all padding: attention over nothing is NaN, and GradScaler halves its scale to nothing."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
lengths = torch.randint(1, 12, (1200,))
lengths[torch.randperm(1000)[:6]] = 0
tokens = torch.randint(20, (1200, 12))
there = torch.arange(12) < lengths[:, None]
labels = ((tokens == 3) & there).any(1).long()


class Model(nn.Module):
    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, size)
        self.score, self.value, self.head = nn.Linear(size, 1), nn.Linear(size, size), nn.Linear(size, 2)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        h = self.embedding(x)
        weights = self.score(torch.tanh(h)).squeeze(-1).float().masked_fill(~there, -torch.inf).softmax(-1)
        return self.head(torch.relu((weights[..., None] * self.value(h)).sum(1)))


model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
scaler = torch.amp.GradScaler("cpu")
for epoch in range(16):
    for batch in torch.randperm(1000).split(50):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.cross_entropy(model(tokens[batch], there[batch]).float(), labels[batch])
        scaler.scale(loss).backward()
        scaler.step(optimizer)  # <- here
        scaler.update()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(tokens[1000:], there[1000:]), labels[1000:]):.4f}")
