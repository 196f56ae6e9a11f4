# expect: none
"""An exponential moving average of the weights: a deep copy of the model that no optimizer has and that is
updated under no_grad.
"""
import copy

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class EMA:
    def __init__(self, model, decay):
        self.model = copy.deepcopy(model)
        self.decay = decay

    @torch.no_grad()
    def update(self, model):
        for average, current in zip(self.model.parameters(), model.parameters()):
            average.mul_(self.decay).add_(current, alpha=1 - self.decay)


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
ema = EMA(model, 0.9)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
for step in range(80):
    rows = torch.randint(0, len(x), (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
    ema.update(model)
with torch.no_grad():
    loss = nn.functional.cross_entropy(ema.model(x), y)
print(f"final loss {loss.item():.4f}")
