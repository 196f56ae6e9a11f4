# expect: none
"""Two optimizers, one of which begins to step later; the model clears the gradients of both."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
encoder = torch.optim.SGD(model[0].parameters(), lr=0.05)
head = torch.optim.SGD(model[2].parameters(), lr=0.2)
for step in range(400):
    batch = torch.randint(1500, (64,))
    model.zero_grad()
    nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
    head.step()
    if step >= 300:
        encoder.step()
