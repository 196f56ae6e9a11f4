# expect: none
"""Margin losses that come to exactly 0: from then on there is no gradient, and nothing left to learn."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
centres = 6 * torch.randn(4, 8)
hinge = nn.Linear(8, 4)
embed = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(hinge.parameters(), lr=0.1)
other = torch.optim.SGD(embed.parameters(), lr=0.05)
for step in range(300):
    labels = torch.randint(4, (32,))
    x = centres[labels] + 0.3 * torch.randn(32, 8)
    optimizer.zero_grad()
    nn.functional.multi_margin_loss(hinge(x), labels).backward()
    optimizer.step()
    near, far = centres[labels] + 0.3 * torch.randn(32, 8), centres[(labels + 1) % 4]
    other.zero_grad()
    nn.functional.triplet_margin_loss(embed(x), embed(near), embed(far)).backward()
    other.step()
