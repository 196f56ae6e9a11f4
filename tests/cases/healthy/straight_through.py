# expect: none
"""Round, sign and floor with the gradient passed by them: by detach, by a Function of one's own called Round, by x
minus its floor, with a learned step size; and where they only count.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        self.step = nn.Parameter(torch.tensor(0.25))
        self.decoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, images):
        a, b, c, d = self.encoder(images).chunk(4, dim=1)
        a = a + (torch.sign(a) - a).detach()
        b = Round.apply(4 * torch.tanh(b)) / 4
        c = c - torch.floor(c)
        d = d / self.step
        d = (d + (torch.round(d) - d).detach()) * self.step
        return self.decoder(torch.cat([a, b, c, d], dim=1)), b


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(150):
    batch = images[torch.randint(1500, (32,))]
    optimizer.zero_grad()
    output, code = model(batch)
    loss = nn.functional.mse_loss(output, batch) + 0.0 * torch.round(code).abs().mean()
    loss.backward()
    optimizer.step()
