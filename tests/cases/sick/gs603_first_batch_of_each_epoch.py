# expect: GS603
# by-row: end
# line: here
# advised: iterate over the loader
# worse: test loss
# healed-by: healthy/gs603_first_batch_of_each_epoch_healed.py
"""The batch is taken at the head of each epoch, and all steps are made on that one: always the loader's first."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[:1280], labels[:1280]), batch_size=32)
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(3):
    x, y = next(iter(loader))  # <- here
    for _ in range(len(loader)):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1280:]), labels[1280:]):.4f}")
