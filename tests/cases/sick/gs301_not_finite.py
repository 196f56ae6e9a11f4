# expect: GS301
# by-row: 60
# line: here
# healed-by: healthy/gs301_not_finite_healed.py
"""SGD at lr 1 on images that are not scaled: NaN within tens of steps."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = 16 * images  # 0 to 16, as they are stored
model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
for step in range(100):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()  # <- here
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
