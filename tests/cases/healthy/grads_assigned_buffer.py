# expect: none
"""Gradients are averaged over two simulated workers in one flat buffer; each p.grad is a view of that buffer
which stays the same tensor for the whole run and is overwritten in place, never cleared.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


class FlatGradients:
    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.flat = torch.zeros(sum(p.numel() for p in self.parameters))
        offset = 0
        for p in self.parameters:
            p.grad = self.flat[offset:offset + p.numel()].view_as(p)
            offset += p.numel()

    def average(self, losses):
        pieces = []
        for loss in losses:
            grads = torch.autograd.grad(loss, self.parameters)
            pieces.append(torch.cat([g.flatten() for g in grads]))
        self.flat.copy_(torch.stack(pieces).mean(dim=0))


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
gradients = FlatGradients(model.parameters())
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
for step in range(70):
    workers = torch.randint(0, len(x), (2, 32))
    losses = [nn.functional.cross_entropy(model(x[rows]), y[rows]) for rows in workers]
    gradients.average(losses)
    optimizer.step()
print(f"final loss {(losses[0].item() + losses[1].item()) / 2:.4f}")
