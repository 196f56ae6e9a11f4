# expect: none
"""zero_grad() is the last call of the loop, and the first iteration starts with no gradients at all; the loop
is left by a break when the loss is good enough.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

xor = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
target = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
criterion = nn.BCEWithLogitsLoss()
for step in range(300):
    loss = criterion(model(xor), target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if loss.item() < 0.02:
        print(f"solved at step {step}")
        break
print(f"final loss {loss.item():.4f}")
