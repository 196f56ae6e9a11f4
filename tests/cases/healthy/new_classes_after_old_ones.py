# expect: none
"""Five classes until they are learned, then all ten: the loss leaps up a hundredfold, and is learned down again."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
old = (labels < 5).nonzero()[:, 0]
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(2500):
    batch = old[torch.randint(0, len(old), (64,))] if step < 1200 else torch.randint(0, len(images), (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
