# expect: GS601
# by-row: end
# line: here
# advised: features = (features - mean) / std
# worse: test loss
# healed-by: healthy/gs601_raw_table_mlp_healed.py
"""A table as it is in the file: one of its columns counts in the hundreds, others in tenths."""
import torch
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
wine = load_wine()
order = torch.randperm(len(wine.target))
features, labels = torch.tensor(wine.data, dtype=torch.float32)[order], torch.tensor(wine.target)[order]
model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for epoch in range(40):
    for batch in torch.randperm(140).split(28):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(features[140:]), labels[140:]):.4f}")
