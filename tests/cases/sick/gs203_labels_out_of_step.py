# expect: GS203
# by-row: 900
# line: here
# healed-by: healthy/gs203_labels_out_of_step_healed.py
"""From the tenth epoch on the images are shuffled anew and the labels are not: the loss jumps and stays up."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
train_images, train_labels = images[:1500], labels[:1500]
for epoch in range(25):
    if epoch >= 10:
        order = torch.randperm(1500)
        train_images = train_images[order]
    for start in range(0, 1500, 32):
        optimizer.zero_grad()
        batch = slice(start, start + 32)
        loss = nn.functional.cross_entropy(model(train_images[batch]), train_labels[batch])
        loss.backward()  # <- here
        optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
