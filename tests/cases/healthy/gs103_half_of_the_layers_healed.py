# expect: none
"""The optimizer gets all of model.parameters()."""
import torch
from torch import nn
from torch.optim import AdamW

torch.manual_seed(0)
torch.set_num_threads(1)


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(3, 8)
        self.layer2 = nn.Linear(8, 8)
        self.layer3 = nn.Linear(8, 1)

    def forward(self, x):
        x = torch.relu(self.layer1(x))
        x = torch.relu(self.layer2(x))
        return self.layer3(x)


X = torch.rand(500, 3)
Y = 3 * X[:, :1] - 2 * X[:, 1:2] * X[:, 2:] + 5
model = Regressor()
optimizer = AdamW(list(model.parameters()), lr=0.01)

for step in range(120):
    batch = torch.randint(0, 500, (50,))
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(X[batch]), Y[batch])
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
