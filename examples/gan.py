"""A small GAN: two networks, two optimizers, two losses in each iteration; gradscope sees what belongs to which.

The generator's backward leaves gradients in the discriminator, which clears them before its own: nothing is wrong with
that, and the report says nothing of it. With --forget-zero-grad the discriminator does not clear them.

python examples/gan.py [--forget-zero-grad]
"""
import argparse

import torch
from torch import nn

import gradscope


def ring(count: int) -> torch.Tensor:
    """Points around a circle: what the generator is to learn."""
    angle = torch.rand(count) * 6.2832
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2)


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--forget-zero-grad", action="store_true", help="in the discriminator")
    options = parser.parse_args()
    torch.manual_seed(0)
    generator, discriminator = network(8, 2), network(2, 1)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loss_fn = nn.BCEWithLogitsLoss()
    yes, no = torch.ones(64, 1), torch.zeros(64, 1)
    with gradscope.watch() as scope:
        for step in range(options.steps):
            fake = generator(torch.randn(64, 8))

            if not options.forget_zero_grad:
                optimizer_d.zero_grad()
            loss_d = loss_fn(discriminator(ring(64)), yes) + loss_fn(discriminator(fake.detach()), no)
            loss_d.backward()
            optimizer_d.step()

            optimizer_g.zero_grad()
            loss_g = loss_fn(discriminator(fake), yes)
            loss_g.backward()
            optimizer_g.step()
            if step % 100 == 0:
                print(f"step {step:3d} discriminator {loss_d.item():.3f} generator {loss_g.item():.3f}")
    print(scope.report())


if __name__ == "__main__":
    main()
