"""Two runs to look at in a browser: a small CNN on scikit-learn's digits, trained well and with a forgotten line.

python examples/tensorboard_report.py [--log-dir runs] [--steps 150]
"""
import argparse
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

import gradscope


def network() -> nn.Module:
    """Two convolutions and two linear layers."""
    return nn.Sequential(OrderedDict(
        features=nn.Sequential(OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1), act1=nn.LeakyReLU(0.1), pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1), act2=nn.LeakyReLU(0.1), pool2=nn.MaxPool2d(2),
        )),
        classifier=nn.Sequential(OrderedDict(
            flatten=nn.Flatten(), hidden=nn.Linear(128, 64), act=nn.LeakyReLU(0.1), output=nn.Linear(64, 10),
        )),
    ))  # fmt: skip


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 images of 8x8 pixels, and what they show."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, forget_zero_grad: bool) -> None:
    """A loop that knows nothing of gradscope."""
    images, labels = digits()
    loss_fn = nn.CrossEntropyLoss()
    for _ in range(steps):
        batch = torch.randint(0, len(images), (64,))
        if not forget_zero_grad:
            optimizer.zero_grad()
        loss = loss_fn(net(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()


def record(log_dir: Path, steps: int, forget_zero_grad: bool) -> str:
    """Train, and leave a run folder in `log_dir`; returns the report."""
    torch.manual_seed(0)
    net = network()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    with gradscope.watch(net, sgd, log_dir=str(log_dir), every=1) as scope:  # norms at each step: there are few
        train(net, sgd, steps, forget_zero_grad)
    return scope.report()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log-dir", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    well, badly = options.log_dir / "digits", options.log_dir / "digits-no-zero-grad"
    print(record(well, options.steps, forget_zero_grad=False))
    print(record(badly, options.steps, forget_zero_grad=True))
    print("(Each step was measured whole, as every=1 asks: that is why watching took so large a share.)\n")
    print("Now look at them in a browser, in TensorBoard (tab GRADSCOPE), or as one file that can be sent around:\n")
    print(f"  tensorboard --logdir {options.log_dir}")
    print(f"  gradscope report {badly} --html report.html")


if __name__ == "__main__":
    main()
