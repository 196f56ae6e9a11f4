# expect: GS602
# line: here
# advised: torch.randperm
# worse: test loss
# healed-by: healthy/gs602_positives_first_gru_healed.py
"""A GRU tells good reviews from bad ones, read in the order of the file: all the good ones, then all the bad ones."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def reviews(many):
    """Words 2-29 say nothing; in a good review three of the words are of 30-34, in a bad one of 35-39."""
    good = torch.arange(many) < many // 2
    words = torch.randint(2, 30, (many, 12))
    for _ in range(3):
        words[torch.arange(many), torch.randint(0, 12, (many,))] = torch.randint(30, 35, (many,)) + 5 * ~good
    return words, good.float()


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.gru, self.head = nn.Embedding(40, 16), nn.GRU(16, 24, batch_first=True), nn.Linear(24, 1)

    def forward(self, words):
        states, _ = self.gru(self.embedding(words))
        return self.head(states.mean(1))[:, 0]


words, good = reviews(960)
test_words, test_good = reviews(400)
model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_fn = nn.BCEWithLogitsLoss()
for epoch in range(6):
    order = torch.arange(len(words))
    for batch in order.split(16):
        optimizer.zero_grad()
        loss = loss_fn(model(words[batch]), good[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {loss_fn(model(test_words), test_good).item():.4f}")
