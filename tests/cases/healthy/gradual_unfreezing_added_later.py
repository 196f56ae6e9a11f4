# expect: none
"""Gradual unfreezing without touching requires_grad: a backbone that an auto-encoder has pre-trained gets
gradients from the start, but joins the head's optimizer only later, layer by layer, with add_param_group.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.low = nn.Linear(64, 32)
        self.high = nn.Linear(32, 16)

    def forward(self, x):
        return torch.relu(self.high(torch.relu(self.low(x))))


def pretrain(encoder, x):
    decoder = nn.Linear(16, 64)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    for _ in range(40):
        rows = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        nn.functional.mse_loss(decoder(encoder(x[rows])), x[rows]).backward()
        optimizer.step()


def finetune(encoder, x, y):
    model = nn.Sequential(encoder, nn.Linear(16, 10))
    optimizer = torch.optim.Adam(model[1].parameters(), lr=1e-2)
    stages = {25: encoder.high, 50: encoder.low}
    for step in range(90):
        if step in stages:
            optimizer.add_param_group({"params": stages[step].parameters(), "lr": 2e-3})
        rows = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
encoder = Encoder()
pretrain(encoder, x)
print(f"final loss {finetune(encoder, x, y):.4f}")
