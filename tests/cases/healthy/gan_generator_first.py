# expect: none
"""A GAN in the other common order: the generator first, whose backward leaves gradients in the discriminator,
which its own zero_grad() clears right after.
"""
import torch
import torch.nn as nn


class Generator(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(latent, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(1, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1), nn.Sigmoid())

    def forward(self, x):
        return self.model(x)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    adversarial_loss = nn.BCELoss()
    generator, discriminator = Generator(3), Discriminator()
    optimizer_G = torch.optim.Adam(generator.parameters(), lr=1e-3)
    optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    valid, fake = torch.ones(64, 1), torch.zeros(64, 1)
    for step in range(100):
        real = 1.5 + 0.5 * torch.randn(64, 1)

        optimizer_G.zero_grad()
        generated = generator(torch.randn(64, 3))
        g_loss = adversarial_loss(discriminator(generated), valid)
        g_loss.backward()
        optimizer_G.step()

        optimizer_D.zero_grad()
        real_loss = adversarial_loss(discriminator(real), valid)
        fake_loss = adversarial_loss(discriminator(generated.detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        optimizer_D.step()
    print(f"final loss D {d_loss.item():.4f} G {g_loss.item():.4f}")


if __name__ == "__main__":
    main()
