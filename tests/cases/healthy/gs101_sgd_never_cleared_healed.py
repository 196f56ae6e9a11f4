# expect: none
"""The usual digit classifier: clear, forward, backward, step."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

digits = load_digits()
images = torch.tensor(digits.data / 16.0, dtype=torch.float32)
targets = torch.tensor(digits.target)

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
loss_fn = nn.CrossEntropyLoss()
optim = torch.optim.SGD(model.parameters(), lr=0.2)

for step in range(100):
    batch = torch.randint(0, len(images), (64,))
    loss = loss_fn(model(images[batch]), targets[batch])
    optim.zero_grad()
    loss.backward()
    optim.step()

with torch.no_grad():
    final = loss_fn(model(images), targets).item()
print(f"final loss {final:.4f}")
