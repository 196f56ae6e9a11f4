# expect: none
"""One optimizer for everything, two phases: for the first 15 steps only the auto-encoder's loss is used, so the
classifier has no gradient at all; then both losses are.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 24), nn.ReLU())
        self.decoder = nn.Linear(24, 64)
        self.classifier = nn.Linear(24, 10)


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

for step in range(90):
    rows = torch.randint(0, len(x), (64,))
    code = model.encoder(x[rows])
    loss = F.mse_loss(model.decoder(code), x[rows])
    if step >= 15:
        loss = loss + F.cross_entropy(model.classifier(code), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
