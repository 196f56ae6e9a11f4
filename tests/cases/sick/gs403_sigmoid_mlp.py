# expect: GS403
# by-row: 110
# advised: ReLU
# worse: test loss
# line: here
# healed-by: healthy/gs403_sigmoid_mlp_healed.py
"""Eight layers with sigmoids between them."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
layers = [nn.Linear(64, 48)]
for _ in range(7):
    layers += [nn.Sigmoid(), nn.Linear(48, 48)]
model = nn.Sequential(*layers, nn.Sigmoid(), nn.Linear(48, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
for step in range(600):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(images[1500:]), labels[1500:])
print(f"test loss: {loss:.4f}")
