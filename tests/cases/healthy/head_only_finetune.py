# expect: none
"""Head-only fine-tuning: a model is pre-trained on digits 0-4, then gets a new head for 5-9; only the head is
given to the new optimizer while the backbone still requires gradients (a waste of time, but nothing is wrong).
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


def fit(model, optimizer, x, y, steps):
    for _ in range(steps):
        rows = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        return self.fc(self.backbone(x))


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
old, new = y < 5, y >= 5

model = Net()
pretrain = fit(model, torch.optim.Adam(model.parameters(), lr=5e-3), x[old], y[old], 60)
print(f"pre-training loss {pretrain:.4f}")

model.fc = nn.Linear(32, 5)
finetune = fit(model, torch.optim.Adam(model.fc.parameters(), lr=1e-2), x[new], y[new] - 5, 80)
print(f"final loss {finetune:.4f}")
