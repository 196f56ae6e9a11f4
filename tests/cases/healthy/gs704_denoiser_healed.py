# expect: none
"""A GradScaler lifts the gradients into the range of float16."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
UNIT = 1e-3
clean = nn.functional.avg_pool2d(torch.randn(80, 1, 24, 24), 5, 1, 2) * 5
noisy, clean = UNIT * (clean + torch.randn(80, 1, 24, 24)), UNIT * clean


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 1, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - UNIT * self.layers(x / UNIT).float()


model = Denoiser()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
scaler = torch.amp.GradScaler("cpu")
for epoch in range(16):
    for batch in torch.randperm(64).split(8):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(model(noisy[batch]), clean[batch])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(noisy[64:]), clean[64:]):.4g}")
