# expect: none
"""Words with a padding index, an embedding that starts at zero for rare words, and a ReLU classifier."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
embedding = nn.Embedding(500, 16, padding_idx=0)
with torch.no_grad():
    embedding.weight[250:] = 0.0
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.Adam([*embedding.parameters(), *model.parameters()], lr=1e-2)
meaning = torch.randint(0, 3, (500,))
for step in range(250):
    words = (500 * torch.rand(32, 9) ** 3).long()
    words[torch.rand(32, 9) < 0.3] = 0
    target = torch.stack([((meaning[words] == c) & (words > 0)).sum(1) for c in range(3)], 1).argmax(1)
    loss = nn.functional.cross_entropy(model(embedding(words).sum(1)), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")
