# expect: none
"""A VAE whose decoder gives logits, which is what its reconstruction loss takes."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, images):
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return self.decoder(code), divergence


model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(150):
    batch = images[torch.randint(1500, (64,))]
    optimizer.zero_grad()
    outputs, divergence = model(batch)
    likelihood = nn.functional.binary_cross_entropy_with_logits(outputs, batch, reduction="sum") / len(batch)
    loss = likelihood + 0.1 * divergence
    loss.backward()
    optimizer.step()
with torch.no_grad():
    outputs, _ = model(images[1500:])
    loss = (torch.sigmoid(outputs) - images[1500:]).square().mean()
print(f"test loss: {loss:.4f}")
