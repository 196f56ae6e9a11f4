# expect: none
"""The outputs are clamped for use only, not before the loss."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 16
shares = images.mean(dim=1, keepdim=True) * 2
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
nn.init.constant_(model[-1].bias, -2.0)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    outputs = model(images[batch])
    loss = nn.functional.mse_loss(outputs, shares[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.mse_loss(model(images[1500:]).clamp(0, 1), shares[1500:])
print(f"test loss: {loss:.4f}")
