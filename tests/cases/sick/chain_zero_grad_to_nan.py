# expect: GS101
# then: GS402 GS202 GS201
# by-row: end
# line: here
# worse: test loss
# healed-by: healthy/chain_zero_grad_to_nan_healed.py
"""An autoencoder of a measured signal, whose author forgot zero_grad(): gradients grow, the loss rises to NaN."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
time = torch.linspace(0, 50, 4000)
signal = torch.sin(time) + 0.3 * torch.sin(5 * time) + 0.05 * torch.randn(4000)
windows = signal.unfold(0, 32, 4)
train, test = windows[:800], windows[800:]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8), nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 32))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(20):
    for batch in torch.randperm(len(train)).split(32):
        loss = nn.functional.mse_loss(model(train[batch]), train[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(test), test).item():.4f}")
