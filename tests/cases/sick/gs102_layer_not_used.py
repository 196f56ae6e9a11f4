# expect: GS102
# by-row: 20
# reason: not-used
# line: here
# healed-by: healthy/gs102_layer_not_used_healed.py
"""The second hidden layer is built in __init__ but the forward forgets to call it (it applies the first one
twice), so it never gets a gradient.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        x = torch.tanh(self.fc1(x))
        x = torch.tanh(self.fc1(x))
        return self.out(x)


torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(512, 8)
y = (x[:, :1] * x[:, 1:2]) + torch.sin(2 * x[:, 2:3]) + x[:, 3:4] ** 2

net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for i in range(150):
    optimizer.zero_grad()
    loss = F.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()  # <- here

print(f"final loss {loss.item():.4f}")
