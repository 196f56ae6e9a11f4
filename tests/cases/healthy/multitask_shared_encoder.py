# expect: none
"""Two tasks, two optimizers, one encoder that both optimizers hold: each task clears, goes backward and steps
on its own turn.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)

encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
digit_head = nn.Linear(48, 10)
mass_head = nn.Linear(48, 1)
digit_optimizer = torch.optim.SGD([*encoder.parameters(), *digit_head.parameters()], lr=0.2)
mass_optimizer = torch.optim.SGD([*encoder.parameters(), *mass_head.parameters()], lr=0.05)

for step in range(100):
    rows = torch.randint(0, len(x), (64,))
    digit_optimizer.zero_grad()
    digit_loss = F.cross_entropy(digit_head(encoder(x[rows])), y[rows])
    digit_loss.backward()
    digit_optimizer.step()

    rows = torch.randint(0, len(x), (64,))
    mass_optimizer.zero_grad()
    mass_loss = F.mse_loss(mass_head(encoder(x[rows])), x[rows].mean(dim=1, keepdim=True) * 4)
    mass_loss.backward()
    mass_optimizer.step()

print(f"final loss {digit_loss.item() + mass_loss.item():.4f}")
