# expect: none
"""A VAE whose KL term is given more weight over two thousand steps: the loss rises by design."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 16


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32))
        self.decoder = nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 64))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(latent), mean, log_variance


model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for step in range(2500):
    batch = images[torch.randint(0, len(images), (64,))]
    decoded, mean, log_variance = model(batch)
    reconstruction = nn.functional.binary_cross_entropy_with_logits(decoded, batch, reduction="sum") / len(batch)
    divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum() / len(batch)
    loss = reconstruction + min(1.0, step / 2000) * divergence
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"reconstruction {reconstruction:.2f}, divergence {divergence:.2f}")
