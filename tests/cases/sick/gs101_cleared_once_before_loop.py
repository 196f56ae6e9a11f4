# expect: GS101
# by-row: 1
# line: here
# healed-by: healthy/gs101_cleared_once_before_loop_healed.py
"""zero_grad() stands one line too high: it is called once, before the loop, instead of in it."""
import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)


def make_moons(n):
    angle = torch.rand(n) * torch.pi
    label = torch.randint(0, 2, (n,))
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    x = torch.where(label[:, None] == 1, torch.tensor([1.0, 0.4]) - x, x)
    return x + 0.1 * torch.randn(n, 2), label


x, y = make_moons(400)
net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9)

opt.zero_grad()
for i in range(80):
    loss = F.cross_entropy(net(x), y)
    loss.backward()  # <- here
    opt.step()
    if i % 20 == 0:
        print(i, round(loss.item(), 4))

print(f"final loss {loss.item():.4f}")
