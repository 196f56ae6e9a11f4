# expect: none
"""Half of the digits first, the others after them: what was learned first is forgotten, as its evaluation shows."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
tasks = [(labels < 5).nonzero()[:, 0], (labels >= 5).nonzero()[:, 0]]
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def evaluate(chosen):
    model.eval()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).item()


for task in tasks:
    train = task[:700]
    for epoch in range(15):
        model.train()
        for batch in train[torch.randperm(len(train))].split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        losses = [evaluate(one[700:]) for one in tasks]
print("test losses: " + ", ".join(f"{loss:.3f}" for loss in losses))
