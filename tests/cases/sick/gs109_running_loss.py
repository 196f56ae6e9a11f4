# expect: GS109
# by-row: 40
# line: here
# healed-by: healthy/gs109_running_loss_healed.py
"""A tutorial's loop at module level: the loss of each batch is added to a running sum as a tensor."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
loss_fn = nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(2):
    running_loss = 0.0
    for imgs, targets in zip(x.split(16), y.split(16)):
        outputs = net(imgs)
        result_loss = loss_fn(outputs, targets)
        optim.zero_grad()
        result_loss.backward()
        optim.step()
        running_loss = running_loss + result_loss  # <- here
    print(f"epoch {epoch} loss {running_loss / len(x.split(16)):.4f}")
