"""The CIFAR-10 tutorial, watched: curves and findings for TensorBoard, warnings while it runs, the report after it.

python examples/tutorial_cifar10.py [--lr 0.01] [--batch-size 64] [--epochs 2] [--data data]
tensorboard --logdir runs

With torchvision and a network, the images are CIFAR-10's. Where those cannot be had, the same loop trains on
scikit-learn's digits (real, 8x8) scaled up to 32x32. At `--batch-size 1 --lr 0.01 --epochs 6` the loss on CIFAR-10
falls for three epochs and then climbs; gradscope says so while it climbs, and what to do.
"""
import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import gradscope


class Net(nn.Module):
    """The small network of many tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 5, padding=2), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1024, 64), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)


def cifar10(folder: str) -> Dataset:
    """CIFAR-10's training images, downloaded once."""
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    return CIFAR10(folder, train=True, download=True, transform=transforms.ToTensor())


def digits() -> Dataset:
    """scikit-learn's digits as 3x32x32 images."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    images = nn.functional.interpolate(images, size=32).repeat(1, 3, 1, 1)
    return TensorDataset(images, torch.tensor(data.target))


def images(folder: str) -> Dataset:
    """CIFAR-10 where it can be had, else the digits."""
    try:
        return cifar10(folder)
    except (ImportError, OSError, RuntimeError) as error:
        print(f"no CIFAR-10 ({type(error).__name__}): training on scikit-learn's digits")
        return digits()


def train(net: Net, optimizer: torch.optim.Optimizer, loader: DataLoader, epochs: int) -> None:
    """The tutorial's loop as it is: it knows nothing of gradscope."""
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        running_loss = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        print(f"epoch {epoch}: loss {running_loss / len(loader):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--data", default="data", help="where CIFAR-10 is, or goes")
    options = parser.parse_args()
    torch.manual_seed(0)
    loader = DataLoader(images(options.data), options.batch_size, shuffle=True)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=options.lr)
    with gradscope.watch(net, optimizer, log_dir="runs") as scope:
        train(net, optimizer, loader, options.epochs)
    print(scope.timeline(0))
    print(scope.report())


if __name__ == "__main__":
    main()
