# expect: none
"""A GradScaler lifts the gradients into the range of float16."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
places = torch.randint(4, 20, (160, 2))
grid = torch.stack(torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij"), -1)
distance = (grid - places[:, None, None]).square().sum(-1)[:, None]
images = 0.3 * torch.rand(160, 1, 24, 24) + (distance < 8)
maps = torch.exp(-distance / 8)

model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
    nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1, bias=False),
)
nn.init.normal_(model[-1].weight, std=0.001)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
scaler = torch.amp.GradScaler("cpu")
for epoch in range(12):
    for batch in torch.randperm(128).split(16):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(model(images[batch]).float(), maps[batch])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(images[128:]), maps[128:]):.5f}")
