# expect: GS102
# by-row: 20
# reason: not-in-loss
# line: here
# healed-by: healthy/gs102_aux_head_not_in_loss_healed.py
"""Two heads, one loss: the auxiliary head (is the digit even?) is computed, its loss is computed and logged,
but never added to the total, so the head stays random.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.digit = nn.Linear(32, 10)
        self.parity = nn.Linear(32, 2)

    def forward(self, x):
        h = self.trunk(x)
        return self.digit(h), self.parity(h)


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.from_numpy(x).float() / 16, torch.from_numpy(y)
model = TwoHeads()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for step in range(80):
    rows = torch.randperm(len(x))[:100]
    digit, parity = model(x[rows])
    digit_loss = F.cross_entropy(digit, y[rows])
    parity_loss = F.cross_entropy(parity, y[rows] % 2)
    loss = digit_loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()  # <- here
    if step % 20 == 0:
        print(f"{step}: digit {digit_loss.item():.3f} parity {parity_loss.item():.3f}")

print(f"final loss {digit_loss.item() + 0.5 * parity_loss.item():.4f}")
