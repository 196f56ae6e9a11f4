# expect: none
"""The embedding of the graph's nodes is computed anew in each step."""
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

for epoch in range(80):
    embedded = torch.relu(adjacency @ embed(features))
    logits = adjacency @ classify(embedded)
    loss = nn.functional.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
