# expect: none
"""Linear maps behind linear maps: a deep linear network on linear data, a linear autoencoder, a factorised embedding, a
depthwise and a pointwise convolution, a low-rank adapter, a projection that is used by itself as well.
"""
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = load_diabetes()
inputs = torch.tensor(data.data, dtype=torch.float32) * 20
targets = torch.tensor((data.target - data.target.mean()) / data.target.std(), dtype=torch.float32)[:, None]
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)

deep = nn.Sequential(nn.Linear(10, 16), nn.Linear(16, 16), nn.Linear(16, 1))
optimizer = torch.optim.SGD(deep.parameters(), lr=0.03)
for step in range(250):
    batch = torch.randint(350, (32,))
    optimizer.zero_grad()
    nn.functional.mse_loss(deep(inputs[batch]), targets[batch]).backward()
    optimizer.step()

autoencoder = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 64))
optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
for step in range(120):
    batch = images[torch.randint(1500, (32,))]
    optimizer.zero_grad()
    nn.functional.mse_loss(autoencoder(batch), batch).backward()
    optimizer.step()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.separable = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1), nn.ReLU())
        self.table, self.widen = nn.Embedding(17, 4), nn.Linear(4, 16)
        self.base, self.down, self.up = nn.Linear(512, 32), nn.Linear(512, 4, bias=False), nn.Linear(4, 32, bias=False)
        nn.init.zeros_(self.up.weight)
        self.project, self.head = nn.Linear(48, 32), nn.Linear(32, 10)

    def forward(self, images):
        x = self.separable(self.conv(images.reshape(-1, 1, 8, 8))).flatten(1)
        ink = self.widen(self.table((images * 16).long())).mean(1)
        x = torch.relu(torch.cat([self.base(x) + self.up(self.down(x)), ink], dim=1))
        features = self.project(x)
        return self.head(features), features


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(100):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    logits, features = model(images[batch])
    (nn.functional.cross_entropy(logits, labels[batch]) + 1e-3 * features.square().mean()).backward()
    optimizer.step()
