"""Gradients accumulated over several batches, in mixed precision: bfloat16 on a CPU, float16 and a GradScaler on a GPU.

Gradients that are added up on purpose are no missing zero_grad, and a scaled loss is no explosion: the report says
nothing of either. With --clip-before-unscale the gradients are clipped while they are still scaled, so that next to
nothing is left of them (the scaler is used on the CPU, too, then).

python examples/accumulate_and_amp.py [--clip-before-unscale]
"""
import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

import gradscope

ACCUMULATE = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--clip-before-unscale", action="store_true", help="as if the scale were 1")
    options = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32, device=device) / 16
    labels = torch.tensor(digits.target, device=device)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda" or options.clip_before_unscale)
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    with gradscope.watch(model, optimizer) as scope:
        for epoch in range(options.epochs):
            for number, batch in enumerate(torch.randperm(len(images), device=device).split(32), 1):
                with torch.autocast(device, dtype):
                    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
                scaler.scale(loss / ACCUMULATE).backward()
                if number % ACCUMULATE == 0:
                    if not options.clip_before_unscale:
                        scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
            print(f"epoch {epoch} loss {loss.item():.3f}")
    print(scope.report())


if __name__ == "__main__":
    main()
