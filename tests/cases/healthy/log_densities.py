# expect: none
"""NLLLoss picks a column of log densities, which may be above 0 and sum up to nothing; then a mixture density net."""
import math

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Densities(nn.Module):
    """The log density of the features under a Gaussian for each class."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4), nn.Tanh())
        self.means = nn.Parameter(torch.randn(10, 4))
        self.log_scale = nn.Parameter(torch.zeros(10, 4))

    def forward(self, images):
        far = (self.body(images)[:, None] - self.means) / self.log_scale.exp()
        return -0.5 * (far.square() + 2 * self.log_scale + math.log(2 * math.pi)).sum(-1)


model = Densities()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(100):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    nn.NLLLoss()(model(images[batch]), labels[batch]).backward()
    optimizer.step()

mixture = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 9))
optimizer = torch.optim.Adam(mixture.parameters(), lr=1e-2)
for step in range(150):
    x = torch.rand(64, 1) * 4 - 2
    y = torch.sin(2 * x) + 0.1 * torch.randn(64, 1)
    weight, mean, log_scale = mixture(x).chunk(3, dim=1)
    normal = torch.distributions.Normal(mean, log_scale.exp())
    likelihood = torch.logsumexp(torch.log_softmax(weight, dim=1) + normal.log_prob(y), dim=1)
    optimizer.zero_grad()
    (-likelihood.mean()).backward()
    optimizer.step()
