# expect: GS203
# by-row: 5100
# line: here
# healed-by: healthy/gs203_batch_one_healed.py
"""Single examples, momentum, a rate that is too high for them: the loss falls for a thousand steps, then climbs back,
under noise as large as itself.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(
    nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for epoch in range(4):
    total = 0.0
    for i in torch.randperm(1500).tolist():
        loss = nn.functional.cross_entropy(model(images[i : i + 1]), labels[i : i + 1])
        optimizer.zero_grad()
        loss.backward()  # <- here
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: {total:.1f}")
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
