# expect: none
"""The same net with the logarithm inside the softmax, which does not underflow, at a rate it can follow."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(4):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        logs = model(images[batch]).log_softmax(dim=1)
        loss = -logs[range(len(batch)), labels[batch]].mean()
        loss.backward()
        optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
