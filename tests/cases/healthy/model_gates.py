# expect: none
"""Squeeze and excitation, a highway, a GLU and a mixture of experts with a soft router: gates of all kinds."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.squeeze, self.excite = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16, 2), nn.Linear(2, 16)
        self.glu, self.carry, self.through = nn.Linear(256, 128), nn.Linear(64, 64), nn.Linear(64, 64)
        self.router = nn.Linear(64, 4)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)) for _ in range(4)])
        nn.init.constant_(self.carry.bias, -6.0)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))[:, :, None, None]
        x = nn.functional.glu(self.glu(nn.functional.max_pool2d(x, 2).flatten(1)))
        gate = torch.sigmoid(self.carry(x))
        x = gate * torch.relu(self.through(x)) + (1 - gate) * x
        weights = torch.softmax(4 * self.router(x), 1)
        return (weights[:, :, None] * torch.stack([expert(x) for expert in self.experts], 1)).sum(1)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(4):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
