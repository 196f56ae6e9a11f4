# expect: none
"""Several epochs over each small set of samples, which one batch holds; then the next set."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for start in range(0, 1280, 64):
    rollout = DataLoader(TensorDataset(images[start : start + 64], labels[start : start + 64]), batch_size=64)
    for epoch in range(6):
        for x, y in rollout:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
