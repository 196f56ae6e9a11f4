# expect: none
"""Gradient clipping by value the old way: p.grad.data.clamp_(-1, 1) between backward() and step(), invisible to
version counters.
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(500, 3)
y = x.pow(3).sum(dim=1, keepdim=True) / 3
y[::50] += 20  # outliers
net = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 1))
optimizer = torch.optim.RMSprop(net.parameters(), lr=0.01)
history = []
for step in range(120):
    rows = torch.randint(0, 500, (50,))
    loss = nn.functional.smooth_l1_loss(net(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    for param in net.parameters():
        param.grad.data.clamp_(-1, 1)
    optimizer.step()
    history.append(loss.item())
print(f"final loss {sum(history[-20:]) / 20:.4f}")
