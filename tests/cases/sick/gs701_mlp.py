# expect: GS701
# by-row: end
# line: here
# advised: keep the weights in float32: leave the model as it is made, and run forward and loss under
# worse: test loss
# healed-by: healthy/gs701_mlp_healed.py
"""Weights in bfloat16 at an lr of 0.0001: next to nothing of the steps arrives."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(torch.bfloat16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(10):
    for batch in torch.randperm(1500).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch].bfloat16()).float(), labels[batch])
        loss.backward()
        optimizer.step()  # <- here
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:].bfloat16()).float(), labels[1500:]):.4f}")
