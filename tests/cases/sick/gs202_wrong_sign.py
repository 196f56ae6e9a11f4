# expect: GS202
# line: here
# healed-by: healthy/gs202_wrong_sign_healed.py
"""A VAE that maximizes its KL term: nothing bounds its loss from below."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)


def losses(x, noise):
    mean, logvar = encoder(x).chunk(2, dim=1)
    logits = decoder(mean + noise * torch.randn_like(mean) * (logvar / 2).exp())
    reconstruction = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return reconstruction, -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum() / len(x)


for epoch in range(20):
    beta = min(1.0, (epoch + 1) / 4)
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        reconstruction, kl = losses(images[batch], 1)
        loss = reconstruction - beta * kl
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    print(f"test loss: {sum(losses(images[1500:], 0)):.5f}")
