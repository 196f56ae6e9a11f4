# expect: GS107
# by-row: 1
# exit: 1
# line: here
# healed-by: healthy/gs107_dies_of_tensor_computed_once_healed.py
"""The embedding of the graph's nodes is computed once before the loop: its graph is freed by the first
backward() and the second one dies.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

nodes = 60
features = torch.randn(nodes, 12)
labels = torch.arange(nodes) % 3
adjacency = ((labels[:, None] == labels[None, :]).float() * torch.rand(nodes, nodes) > 0.6).float()
adjacency = adjacency + adjacency.T + torch.eye(nodes)
adjacency = adjacency / adjacency.sum(dim=1, keepdim=True)

embed = nn.Linear(12, 16)
classify = nn.Linear(16, 3)
optimizer = torch.optim.Adam([*embed.parameters(), *classify.parameters()], lr=0.01)

embedded = torch.relu(adjacency @ embed(features))
for epoch in range(80):
    logits = adjacency @ classify(embedded)
    loss = nn.functional.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()  # <- here
    optimizer.step()

print(f"final loss {loss.item():.4f}")
