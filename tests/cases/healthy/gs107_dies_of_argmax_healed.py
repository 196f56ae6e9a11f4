# expect: none
"""The loss is computed on the scores; the argmax is for the accuracy only."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(60):
    rows = torch.randint(0, len(x), (64,))
    scores = model(x[rows])
    predicted = scores.argmax(dim=1)
    accuracy = (predicted == y[rows]).float().mean()
    loss = nn.functional.cross_entropy(scores, y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"accuracy {accuracy.item():.3f}")
print(f"final loss {loss.item():.4f}")
