# expect: GS303
# by-row: 110
# line: here
# healed-by: healthy/gs303_warmup_integer_division_healed.py
"""A warm-up that divides with //: the learning rate is 0 for its first 250 steps."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step // 250))
for epoch in range(15):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        scheduler.step()  # <- here
with torch.no_grad():
    right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
    loss = nn.functional.cross_entropy(model(images[:1500]), labels[:1500])
print(f"test accuracy {right:.3f}, final loss {loss:.4f}")
