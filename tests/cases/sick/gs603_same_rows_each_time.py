# expect: GS603
# by-row: 66
# line: here
# advised: draw other rows for each step: torch.randint(len(train_x), (BATCH_SIZE,))
# worse: test loss
# healed-by: healthy/gs603_same_rows_each_time_healed.py
"""The slice of the batch does not move on: `[:BATCH_SIZE]` where `[i : i + BATCH_SIZE]` is meant."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
BATCH_SIZE = 32
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
train_x, train_y, test_x, test_y = images[:1280], labels[:1280], images[1280:], labels[1280:]
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(3):
    for i in range(0, len(train_x), BATCH_SIZE):
        x, y = train_x[:BATCH_SIZE], train_y[:BATCH_SIZE]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(test_x), test_y):.4f}")
