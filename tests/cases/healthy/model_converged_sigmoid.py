# expect: none
"""A binary classifier long after it has converged: its sigmoids are 0 and 1."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
even = (labels % 2 == 0).float()
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(8):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy(model(images[batch])[:, 0], even[batch])
        loss.backward()
        optimizer.step()
print(f"loss {loss.item():.4f}")
