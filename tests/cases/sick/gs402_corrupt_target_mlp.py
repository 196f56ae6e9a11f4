# expect: GS402
# by-row: end
# line: here
# advised: clip the gradient norm at 20
# worse: test loss
# healed-by: healthy/gs402_corrupt_target_mlp_healed.py
"""One target in 1,500 is corrupt: its gradient throws the network off, once an epoch."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target).float().unsqueeze(1)
labels[777] = 1e4  # a decimal point that got lost
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(2):
    for batch in torch.randperm(1500).split(32):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(images[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(images[1500:]), labels[1500:]):.4f}")
