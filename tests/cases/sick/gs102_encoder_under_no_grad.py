# expect: GS102
# by-row: 20
# reason: no-grad
# line: here
# healed-by: healthy/gs102_encoder_under_no_grad_healed.py
"""The encoder runs under torch.no_grad(), copied from an evaluation script, but is meant to be trained: its
parameters are in the optimizer.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn, optim

torch.manual_seed(0)
torch.set_num_threads(1)

x, y = load_digits(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16
y = torch.tensor(y)

encoder = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten())
classifier = nn.Linear(4 * 4 * 4, 10)
optimizer = optim.SGD([*encoder.parameters(), *classifier.parameters()], lr=0.2, momentum=0.9)

for step in range(100):
    rows = torch.randint(0, len(x), (64,))
    optimizer.zero_grad()
    with torch.no_grad():
        features = encoder(x[rows])
    loss = nn.functional.cross_entropy(classifier(features), y[rows])
    loss.backward()
    optimizer.step()  # <- here

with torch.no_grad():
    loss = nn.functional.cross_entropy(classifier(encoder(x)), y)
print(f"final loss {loss.item():.4f}")
