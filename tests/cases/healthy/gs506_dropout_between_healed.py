# expect: none
"""The same with activations."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(1500, 6)
targets = (inputs[:, :1] * inputs[:, 1:2] + 0.3 * inputs[:, 2:3]) + 0.1 * torch.randn(1500, 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(6, 32), nn.Linear(32, 32), nn.Linear(32, 1)
        self.norm, self.drop = nn.BatchNorm1d(32), nn.Dropout(0.2)

    def forward(self, x):
        x = torch.relu(self.norm(self.fc1(x)))
        return self.out(self.drop(torch.relu(self.fc2(x))))


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(400):
    batch = torch.randint(1000, (64,))
    loss = nn.functional.mse_loss(model(inputs[batch]), targets[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(inputs[1000:]), targets[1000:]):.4f}")
