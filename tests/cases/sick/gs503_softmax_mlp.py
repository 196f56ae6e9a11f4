# expect: GS503
# by-row: 5
# advised: leave out the softmax
# worse: test loss
# line: here
# healed-by: healthy/gs503_softmax_mlp_healed.py
"""A softmax at the end of the model, and CrossEntropyLoss, which takes one itself."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_fn = nn.CrossEntropyLoss()
for step in range(300):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = loss_fn(model(images[batch]), labels[batch])
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    loss = loss_fn(model(images[1500:]), labels[1500:])
    error = (model(images[1500:]).argmax(dim=1) != labels[1500:]).float().mean()
print(f"test loss: {loss:.4f}")
print(f"test error: {error:.4f}")
