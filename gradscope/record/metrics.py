"""Metrics of a run besides its training losses: what the loop hands in, and what is seen of its evaluations."""
from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIMIT = 1024  # readings of a metric; then pairs are merged, so that each stands for twice as many
SOURCES = ("log", "tensorboard", "evaluation", "plateau")  # the surest first
NONE_LOGGED = "no validation metric was logged"

_SETS = frozenset("val valid validation dev test eval evaluation holdout heldout".split())
_LOSSES = frozenset("loss losses nll crossentropy xent bce mse".split())
_NEUTRAL = frozenset("epoch step mean avg average total overall set full ce cross entropy of on the".split())
_JOINED = re.compile(r"(val|valid|validation|dev|test|eval)(loss|nll)$")


@dataclass(frozen=True)
class Metric:
    """One series of values. `row` # (readings,) is the newest row that had stepped when the value came, -1: none had.

    Values that came at the same row are one reading, their mean. `count` # (readings,) are how many values each stands
    for. `source`: "log" (`scope.log`), "tensorboard" (`add_scalar`), "plateau" (given to ReduceLROnPlateau),
    "evaluation" (the loss function's mean over a pass in eval mode), "ranks" (of a rank). `optimizers` are the numbers
    of those that train the model it is about; (): not said. `site`: of the call, by number.
    """

    number: int
    name: str
    source: str
    optimizers: tuple[int, ...]
    site: int
    row: Floats
    value: Floats
    count: Floats

    def __len__(self) -> int:
        return len(self.row)


class MetricSums:
    """Takes one value after another, whatever their number, in constant memory."""

    def __init__(self, number: int, name: str, source: str, optimizers: tuple[int, ...], site: int) -> None:
        self.number, self.name, self.source, self.optimizers, self.site = number, name, source, optimizers, site
        self._size = 1  # different rows a reading stands for
        self._readings: list[list[float]] = []  # newest row, mean, values, different rows
        self._view: Metric | None = None

    def append(self, row: int, value: float) -> None:
        """Take in a value. Those of one row belong together, and so do the rows of a reading that is not whole yet."""
        self._view, newest = None, self._readings[-1] if self._readings else None
        if newest is None or newest[0] != row and newest[3] >= self._size:
            if len(self._readings) >= LIMIT:
                self._merge()
                self.append(row, value)
            else:
                self._readings.append([row, value, 1, 1])
            return
        newest[3] += newest[0] != row
        newest[2] += 1
        newest[1] += (value - newest[1]) / newest[2] if newest[1] != value else 0.0
        newest[0] = row

    def view(self) -> Metric:
        """The readings so far: a copy."""
        if self._view is None:
            row, value, count, _ = np.array(self._readings, np.float64).reshape(-1, 4).T
            self._view = Metric(self.number, self.name, self.source, self.optimizers, self.site, row, value, count)
        return self._view

    def _merge(self) -> None:
        self._size *= 2
        pairs = zip(self._readings[0::2], self._readings[1::2])
        self._readings = [
            [b[0], a[1] + (b[1] - a[1]) * b[2] / (a[2] + b[2]), a[2] + b[2], a[3] + b[3]] for a, b in pairs
        ]


def names_validation_loss(name: str) -> bool:
    """Whether a metric's name says that it is the loss on data which is not trained on: "val_loss", "Loss/val".

    The whole loss, and nothing else: not "val/kl_loss" (a part of one may rise), not "val_loss_gap".
    """
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = [word for word in re.split(r"[^a-z]+", parted.lower()) if word]
    if len(words) == 1:
        return bool(_JOINED.match(words[0]))
    known = _SETS | _LOSSES | _NEUTRAL
    joined = [word for word in words if _JOINED.match(word)]
    if any(word not in known and word not in joined for word in words):
        return False
    return bool(joined) or bool(_SETS.intersection(words) and _LOSSES.intersection(words))
