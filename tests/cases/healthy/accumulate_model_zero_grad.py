# expect: none
"""Gradient accumulation over eight samples, one backward each, cleared with model.zero_grad() before each
window.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class SentenceModel(nn.Module):
    """Bag of words over sentences of different lengths, hence one sample at a time."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.linear = nn.Linear(8, 2)

    def forward(self, sentence):
        return self.linear(self.embedding(sentence).mean(dim=0, keepdim=True))


sentences = [torch.randint(0, 20, (int(n),)) for n in torch.randint(3, 9, (200,))]
labels = [torch.tensor([int((s < 10).float().mean() > 0.5)]) for s in sentences]
model = SentenceModel()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for step in range(40):
    model.zero_grad()
    window = 0.0
    for i in torch.randint(0, 200, (8,)).tolist():
        loss = nn.functional.cross_entropy(model(sentences[i]), labels[i]) / 8
        loss.backward()
        window += loss.item()
    optimizer.step()
print(f"final loss {window:.4f}")
