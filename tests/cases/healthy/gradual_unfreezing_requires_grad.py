# expect: none
"""Gradual unfreezing: the backbone is frozen at first, after 40 steps it is made trainable and handed to the
same optimizer with add_param_group and a smaller learning rate.
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)

backbone = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
head = nn.Linear(48, 10)
model = nn.Sequential(backbone, head)
backbone.requires_grad_(False)
optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)

for step in range(90):
    if step == 40:
        backbone.requires_grad_(True)
        optimizer.add_param_group({"params": backbone.parameters(), "lr": 0.02})
    rows = torch.randint(0, len(x), (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
