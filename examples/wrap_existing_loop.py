"""An existing loop, watched: one line around it, the report after it.

python examples/wrap_existing_loop.py [--forget-zero-grad]
"""
import argparse

import torch
from torch import nn

import gradscope


def train(model: nn.Module, optimizer: torch.optim.Optimizer, forget_zero_grad: bool, steps: int = 200) -> None:
    """The loop as it was: it knows nothing of gradscope."""
    loss_fn = nn.CrossEntropyLoss()
    centres = torch.randn(10, 32)
    for step in range(steps):
        labels = torch.randint(0, 10, (64,))
        inputs = centres[labels] + 1.5 * torch.randn(64, 32)
        if not forget_zero_grad:
            optimizer.zero_grad()
        loss = loss_fn(model(inputs), labels)
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3d} loss {loss.item():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--forget-zero-grad", action="store_true", help="as beginners do")
    forget_zero_grad = parser.parse_args().forget_zero_grad
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, forget_zero_grad)
    print(scope.report())


if __name__ == "__main__":
    main()
