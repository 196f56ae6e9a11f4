# expect: GS704
# by-row: end
# line: here
# advised: scaler = torch.amp.GradScaler("cpu") once, before the loop
# worse: test loss
# healed-by: healthy/gs704_millimetres_healed.py
"""What is predicted are millimetres, and what is compared metres: the squares of their errors are too small for
float16.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(1200, 16)
metres = 1e-3 * torch.sin(x[:, :8] + x[:, 8:])
model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(24):
    for batch in torch.randperm(1000).split(128):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            predicted = 1e-3 * model(x[batch]).float()
            loss = nn.functional.mse_loss(predicted, metres[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(1e-3 * model(x[1000:]), metres[1000:]):.4g}")
