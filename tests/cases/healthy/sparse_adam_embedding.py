# expect: none
"""Embeddings with sparse gradients in SparseAdam and a dense classifier in Adam: both step together."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class BagOfWords(nn.Module):
    def __init__(self, words=500, size=16):
        super().__init__()
        self.embedding = nn.EmbeddingBag(words, size, mode="mean", sparse=True)
        self.classifier = nn.Linear(size, 2)

    def forward(self, tokens):
        return self.classifier(self.embedding(tokens))


model = BagOfWords()
sparse = torch.optim.SparseAdam(model.embedding.parameters(), lr=0.05)
dense = torch.optim.Adam(model.classifier.parameters(), lr=0.05)
for step in range(80):
    tokens = torch.randint(0, 500, (64, 12))
    labels = ((tokens < 250).sum(dim=1) > 6).long()
    sparse.zero_grad()
    dense.zero_grad()
    loss = nn.functional.cross_entropy(model(tokens), labels)
    loss.backward()
    sparse.step()
    dense.step()
print(f"final loss {loss.item():.4f}")
