# expect: none
"""The model is deep-copied and the optimizer is built on the copy that is trained."""
import copy

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

template = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
model = copy.deepcopy(template)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_function = nn.CrossEntropyLoss()

points = torch.randn(300, 4)
classes = points[:, :3].argmax(dim=1)

for epoch in range(60):
    optimizer.zero_grad()
    loss = loss_function(model(points), classes)
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
