# expect: none
"""Half of the units start dead and stay so; the other half is enough: no harm, no warning."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
with torch.no_grad():
    model[0].bias[:70] = -5.0
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
