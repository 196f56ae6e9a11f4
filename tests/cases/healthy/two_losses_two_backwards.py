# expect: none
"""Two losses on one output, each with its own backward (the first with retain_graph=True), and one step that
uses the sum of both.
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)

trunk = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
digit_head = nn.Linear(32, 10)
pixel_head = nn.Linear(32, 64)
modules = nn.ModuleList([trunk, digit_head, pixel_head])
optimizer = torch.optim.Adam(modules.parameters(), lr=5e-3)

for step in range(80):
    rows = torch.randint(0, len(x), (64,))
    features = trunk(x[rows])
    optimizer.zero_grad()
    classification = nn.functional.cross_entropy(digit_head(features), y[rows])
    classification.backward(retain_graph=True)
    reconstruction = nn.functional.mse_loss(pixel_head(features), x[rows])
    reconstruction.backward()
    optimizer.step()

print(f"final loss {classification.item() + reconstruction.item():.4f}")
