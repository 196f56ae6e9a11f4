# expect: GS203
# by-row: 450
# line: here
# healed-by: healthy/gs203_maximize_healed.py
"""maximize=True came along with the optimizer's settings of another project: each step climbs, slowly."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=3e-3, momentum=0.5, maximize=True)
for epoch in range(20):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}, final loss {loss.item():.3f}")
