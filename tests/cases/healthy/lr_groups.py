# expect: none
"""Three groups, a hundredfold apart."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
groups = [
    {"params": model[0].parameters(), "lr": 1e-4},
    {"params": [model[2].weight], "lr": 1e-2},
    {"params": [model[2].bias], "lr": 1e-3},
]
optimizer = torch.optim.Adam(groups)
for step in range(400):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
