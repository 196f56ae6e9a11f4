# expect: none
"""The same at 0.01, as advised."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = load_breast_cancer()
radius = torch.tensor(data.data[:, :1], dtype=torch.float32)
benign = torch.tensor(data.target, dtype=torch.float32).unsqueeze(1)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(300):
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(model(radius), benign)
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.3f}")
