# expect: none
"""A deep residual CNN without normalisation: Fixup; branches and head end in zeros."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)


class Block(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.biases, self.scale = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.ones(1))
        nn.init.normal_(self.conv1.weight, std=(2 / (width * 9)) ** 0.5 * depth**-0.5)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x):
        out = torch.relu(self.conv1(x + self.biases[0]) + self.biases[1])
        return torch.relu(x + self.conv2(out + self.biases[2]) * self.scale + self.biases[3])


model = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), *[Block(8, 10) for _ in range(10)], nn.Flatten(), nn.Linear(72, 10))
nn.init.zeros_(model[-1].weight)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(3):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
