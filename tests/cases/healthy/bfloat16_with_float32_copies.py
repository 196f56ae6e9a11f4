# expect: none
"""The optimizer holds float32 copies of bfloat16 weights; and one that rounds stochastically."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.bfloat16()
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).bfloat16()
copies = [p.detach().float().requires_grad_() for p in model.parameters()]
optimizer = torch.optim.AdamW(copies, lr=1e-4)
for step in range(200):
    batch = torch.randint(1500, (32,))
    nn.functional.cross_entropy(model(images[batch]).float(), labels[batch]).backward()
    for p, copy in zip(model.parameters(), copies):
        copy.grad, p.grad = p.grad.float(), None
    optimizer.step()
    with torch.no_grad():
        for p, copy in zip(model.parameters(), copies):
            p.copy_(copy)


class Stochastic(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                bits = (p.float() - group["lr"] * p.grad.float()).view(torch.int32)
                bits = bits + torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32)
                p.copy_((bits & -65536).view(torch.float32))


model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).bfloat16()
optimizer = Stochastic(model.parameters(), lr=0.03)
for step in range(400):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images[batch]).float(), labels[batch]).backward()
    optimizer.step()
