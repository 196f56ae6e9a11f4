"""A variational autoencoder of digits: reparametrisation, Bernoulli likelihood, a warm-up of beta; Adam."""
import torch
from sklearn import datasets
from torch import nn
from torch.nn import functional as F

BATCH = 64
EPOCHS = 40
LR = 2e-3
BETA_EPOCHS = 5


class VAE(nn.Module):
    def __init__(self, d_in=64, d_hidden=96, d_latent=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_hidden), nn.ReLU())
        self.to_mu = nn.Linear(d_hidden, d_latent)
        self.to_logvar = nn.Linear(d_hidden, d_latent)
        self.decoder = nn.Sequential(
            nn.Linear(d_latent, d_hidden),
            nn.ReLU(),
            nn.Linear(d_hidden, d_hidden),
            nn.ReLU(),
            nn.Linear(d_hidden, d_in),
        )

    def encode(self, x):
        h = self.encoder(x)
        return self.to_mu(h), self.to_logvar(h)

    def reparameterize(self, mu, logvar):
        if not self.training:
            return mu
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decoder(z), mu, logvar


def vae_loss(logits, x, mu, logvar, beta):
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
    return reconstruction + beta * kl, reconstruction, kl


def elbo(vae, x):
    """The held-out bound (minus it, in nats), with the mean of the code in place of a sample; above the entropy."""
    vae.eval()
    with torch.no_grad():
        logits, mu, logvar = vae(x)
        loss, _, _ = vae_loss(logits.float(), x, mu.float(), logvar.float(), 1.0)
        return (loss + (torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(1).mean()).item()


def main():
    torch.manual_seed(10)
    torch.set_num_threads(1)
    data = torch.tensor(datasets.load_digits().data, dtype=torch.float32) / 16.0
    data = data[torch.randperm(len(data))]
    train, valid = data[:1400], data[1400:]
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR)
    print(f"start: {elbo(vae, valid):.5f}")
    for epoch in range(EPOCHS):
        vae.train()
        beta = min(1.0, (epoch + 1) / BETA_EPOCHS)
        permutation = torch.randperm(len(train))
        total = 0.0
        for i in range(0, len(train) - BATCH + 1, BATCH):
            x = train[permutation[i : i + BATCH]]
            optimizer.zero_grad()
            logits, mu, logvar = vae(x)
            loss, reconstruction, kl = vae_loss(logits, x, mu, logvar, beta)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / (len(train) // BATCH):.3f} rec {reconstruction:.3f} kl {kl:.3f}")
    print(f"result: {elbo(vae, valid):.5f}")


if __name__ == "__main__":
    main()
