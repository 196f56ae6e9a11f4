# expect: GS106
# by-row: 110
# line: here
# healed-by: healthy/gs106_out_of_place_healed.py
"""Momentum by hand: the velocity is kept in the state, and sub stands where sub_ was meant."""
import torch
from torch import nn

torch.manual_seed(1)
torch.set_num_threads(1)


class Momentum(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01, momentum=0.9):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(p.data)
                state["velocity"] = group["momentum"] * state["velocity"] + p.grad.data
                p.data.sub(group["lr"] * state["velocity"])


images = torch.rand(256, 1, 8, 8)
labels = (images[:, 0, :4].mean((1, 2)) > images[:, 0, 4:].mean((1, 2))).long()
net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 2))
criterion = nn.CrossEntropyLoss()
opt = Momentum(net.parameters(), lr=0.05)
for epoch in range(6):
    total = 0.0
    for i in range(0, 256, 16):
        opt.zero_grad()
        loss = criterion(net(images[i:i + 16]), labels[i:i + 16])
        loss.backward()
        opt.step()  # <- here
        total += loss.item()
    print(f"epoch {epoch} loss {total / 16:.4f}")
