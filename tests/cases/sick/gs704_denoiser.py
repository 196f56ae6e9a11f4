# expect: GS704
# by-row: end
# line: here
# advised: scaler = torch.amp.GradScaler("cpu") once, before the loop
# worse: test loss
# healed-by: healthy/gs704_denoiser_healed.py
"""Images of a faint source, in units in which they are a thousandth: the mean over all pixels hands back what float16
does not hold.
"""
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
for epoch in range(16):
    for batch in torch.randperm(64).split(8):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(model(noisy[batch]), clean[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.mse_loss(model(noisy[64:]), clean[64:]):.4g}")
