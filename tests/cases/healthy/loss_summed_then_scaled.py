# expect: none
"""The loss comes with reduction="none", is weighted per sample, summed, averaged over the batch and scaled
before the backward.
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(800, 5)
y = (x.sum(dim=1) > 2).float()  # one class in five
weights = torch.where(y == 1, 4.0, 1.0)
model = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1))
criterion = nn.BCEWithLogitsLoss(reduction="none")
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for step in range(100):
    rows = torch.randint(0, 800, (64,))
    losses = criterion(model(x[rows]).squeeze(1), y[rows])
    loss = (losses * weights[rows]).sum() / len(rows)
    optimizer.zero_grad()
    (2.0 * loss).backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
