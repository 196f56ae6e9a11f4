"""What the problems of problems.py are trained on: samples and targets, as tensors, always the same."""
from __future__ import annotations

import contextlib
import functools
import io
from typing import Callable

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]


def batches(data: Batch, size: int, seed: int) -> Callable[[int], Batch]:
    """Batches of so many samples, shuffled anew in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []

    def batch(number: int) -> Batch:
        while number >= len(order):
            shuffled = torch.randperm(len(data[0]), generator=generator).split(size)
            order.extend(part for part in shuffled if len(part) == size)
        return data[0][order[number]], data[1][order[number]]

    return batch


@functools.cache
def digits(size: int = 8, channels: int = 1) -> Batch:
    """Handwritten digits # (1797, channels, size, size), and what they are."""
    loaded = load_digits()
    images = torch.tensor(loaded.images, dtype=torch.float32).unsqueeze(1) / 16
    if size != 8:
        images = F.interpolate(images, size=size)
    return images.repeat(1, channels, 1, 1), torch.tensor(loaded.target)


@functools.cache
def pictures(size: int = 16, samples: int = 1200, noise: float = 1.0) -> Batch:
    """Made pictures # (samples, 3, size, size) of ten classes: each a smooth pattern, shifted, and noise on top."""
    generator = torch.Generator().manual_seed(1234)
    patterns = torch.randn(10, 3, 4, 4, generator=generator)
    patterns = F.interpolate(patterns, size=size, mode="bilinear")
    classes = torch.randint(10, (samples,), generator=generator)
    shifts = torch.randint(-3, 4, (samples, 2), generator=generator).tolist()
    moved = [torch.roll(patterns[c], shift, (1, 2)) for c, shift in zip(classes.tolist(), shifts)]
    return torch.stack(moved) + noise * torch.randn(samples, 3, size, size, generator=generator), classes


@functools.cache
def diabetes() -> Batch:
    """442 patients: ten measurements as they were taken (ages, pressures: up to 400), the illness a year later."""
    features, target = load_diabetes(return_X_y=True, scaled=False)
    return torch.tensor(features, dtype=torch.float32), torch.tensor(target, dtype=torch.float32).unsqueeze(1)


@functools.cache
def houses() -> Batch:
    """1,000 made districts: income, age, rooms, people, distances, not scaled; prices, scaled # (1000, 1)."""
    generator = torch.Generator().manual_seed(4321)
    z = torch.randn(1000, 6, generator=generator)
    income, age, people = torch.exp(1.3 + 0.4 * z[:, 0]), 28 + 12 * z[:, 1], 3 * torch.exp(0.5 * z[:, 3])
    rooms, south, west = 5 + income / 4 + z[:, 2], 2 * z[:, 4], 2 * z[:, 5]
    price = 0.45 * income + 0.01 * age - 0.4 * south + torch.sin(west) + 0.2 * rooms
    price = (price - price.mean()) / price.std()
    return torch.stack([income, age, rooms, people, south, west], 1), price.unsqueeze(1)


@functools.cache
def zen() -> tuple[Tensor, int]:
    """The Zen of Python as numbers of characters # (856,), and how many different ones there are."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    text = "".join(this.d.get(letter, letter) for letter in this.s)  # type: ignore[attr-defined]
    known = sorted(set(text))
    return torch.tensor([known.index(letter) for letter in text]), len(known)


def characters(length: int) -> Batch:
    """Every stretch of the text # (stretches, length), and the characters that follow each."""
    stretches = zen()[0].unfold(0, length + 1, 1)
    return stretches[:, :-1], stretches[:, 1:]


@functools.cache
def marked_sums() -> Batch:
    """Sequences # (1200, 5, 2) of numbers, two of them marked; the sum of the marked ones # (1200, 1)."""
    generator = torch.Generator().manual_seed(99)
    numbers = 2 * torch.rand(1200, 5, generator=generator) - 1
    marks = torch.zeros(1200, 5)
    marks.scatter_(1, torch.rand(1200, 5, generator=generator).argsort(1)[:, :2], 1.0)
    return torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)
