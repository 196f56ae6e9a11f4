# expect: none
"""A rare class at the end of the file, and no shuffling: three batches of forty are of it alone: healed."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
rare = labels == 3
order = torch.cat([torch.nonzero(~rare).flatten()[:1280], torch.nonzero(rare).flatten()[:96]])
data = torch.utils.data.TensorDataset(images[order], rare[order].float())
loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        loss.backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    missed = nn.functional.softplus(-model(images[1400:][rare[1400:]])).mean()
print(f"test loss: {missed:.5f}")
