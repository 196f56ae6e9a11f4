# expect: GS301
# by-row: 120
# line: here
# healed-by: healthy/gs301_across_the_valley_healed.py
"""Radii of 14 mm, not normalised, and a rate of 0.1: each step jumps across the valley, and the next one back."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = load_breast_cancer()
radius = torch.tensor(data.data[:, :1], dtype=torch.float32)
benign = torch.tensor(data.target, dtype=torch.float32).unsqueeze(1)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(300):
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(model(radius), benign)
    loss.backward()
    optimizer.step()  # <- here
print(f"final loss {loss.item():.3f}")
