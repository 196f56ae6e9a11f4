# expect: none
"""Weight normalisation by parametrisation: the layer's weight is computed from two parameters and is itself
none.
"""
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(500, 6)
y = x[:, :1] * 2 - x[:, 1:2].abs() + 0.5
model = nn.Sequential(weight_norm(nn.Linear(6, 32)), nn.ReLU(), weight_norm(nn.Linear(32, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for step in range(100):
    rows = torch.randint(0, 500, (50,))
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
