# expect: none
"""Weights in bfloat16 with rates at which the steps arrive, or enough of them; then fine-tuned at a small one."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.bfloat16()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        batch = torch.randint(1500, (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]).float(), labels[batch]).backward()
        optimizer.step()


for lr in (1e-3, 3e-4):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).bfloat16()
    train(model, torch.optim.AdamW(model.parameters(), lr=lr), 300)
train(model, torch.optim.AdamW(model.parameters(), lr=1e-4), 200)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).bfloat16()
train(model, torch.optim.SGD(model.parameters(), lr=0.05), 300)
