"""What TensorBoard is to show of one optimizer, thinned as the rows come: bytes are time."""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

from gradscope.events import GradState, Point
from gradscope.record.record import Array, Wiring

CURVE_GROWTH, MODULE_GROWTH, PARAMETER_GROWTH = 0.01, 0.1, 0.3


@dataclass(frozen=True)
class CurvePoint:
    """A point of the loss, lr and norm curves. `loss`, `joint` (the loss over all backwards of the row) and `norm` are
    means over the rows since the previous point, None where these rows had none; the rest is that of the row `step`.
    """

    step: int
    wall: float
    loss: float | None
    joint: float | None
    norm: float | None
    lr: tuple[float, ...]
    scale: float


@dataclass(frozen=True)
class NormsPoint:
    """The gradient norms that one measured row's step used.

    `norms`, `present` # (params,). `after_backward` is the norm of all of them as backward had left them: another one
    where gradients are clipped. None where they were not seen then.
    """

    step: int
    wall: float
    norms: Array
    present: Array
    after_backward: float | None
    for_modules: bool
    for_parameters: bool


class Pace:
    """Due at each of the first counts, later each time the count has grown by `growth`: a logarithmic number of times.

    With 0.01: at all of the first 200, some 640 times in 20,000, 1,030 times in a million.
    """

    def __init__(self, growth: float) -> None:
        self._factor, self._next = 1 + growth, 1

    def due(self, count: int) -> bool:
        if count < self._next:
            return False
        self._next = max(count + 1, int(count * self._factor))
        return True


class Mean:
    """Of what was added since it was taken last. One NaN makes it NaN: nothing is dropped."""

    __slots__ = ("_total", "_count")

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._total += value
        self._count += 1

    def take(self) -> float | None:
        total, count = self._total, self._count
        self._total, self._count = 0.0, 0
        return total / count if count else None


class Curves:
    """One optimizer's points since they were taken last.

    The loss of single rows is noise, at batch 1 above all: so a thinned point is the mean over all rows since the
    previous one. Gradient norms are known of measured rows only.
    """

    def __init__(self) -> None:
        self.points: list[CurvePoint] = []
        self.norms: list[NormsPoint] = []
        self._rows = 0
        self._pace, self._modules, self._parameters = Pace(CURVE_GROWTH), Pace(MODULE_GROWTH), Pace(PARAMETER_GROWTH)
        self._loss, self._joint, self._norm = Mean(), Mean(), Mean()
        self._newest: Mapping[str, Any] | None = None  # the newest row, while no point holds it

    def row(self, scalars: Mapping[str, Any], arrays: Mapping[str, Any] | None) -> None:
        """Take in one finished row."""
        self._rows += 1
        self._newest = scalars
        if not scalars["wiring"] & Wiring.NO_LOSS:
            self._loss.add(float(scalars["loss"]))
            self._joint.add(float(scalars["joint_loss"]))
        if arrays is not None:
            self._norm.add(float(scalars["grad_norm"]))
            self._measured(int(scalars["row"]), arrays)
        if self._pace.due(self._rows):
            self._point()

    def end(self) -> None:
        """No row follows: the newest one gets a point too."""
        self._point()

    def take(self) -> tuple[list[CurvePoint], list[NormsPoint]]:
        """The points so far; they are forgotten here."""
        points, norms = self.points, self.norms
        self.points, self.norms = [], []
        return points, norms

    def _point(self) -> None:
        scalars, self._newest = self._newest, None
        if scalars is not None:
            self.points.append(
                CurvePoint(
                    int(scalars["row"]),
                    time.time(),
                    self._loss.take(),
                    self._joint.take(),
                    self._norm.take(),
                    tuple(scalars["lr"]),
                    float(scalars["loss_scale"]),
                )
            )

    def _measured(self, row: int, arrays: Mapping[str, Any]) -> None:
        modules, parameters = self._modules.due(self._rows), self._parameters.due(self._rows)
        if not (modules or parameters):
            return
        norms, states = np.asarray(arrays["norm"], np.float64), np.asarray(arrays["state"])
        used, made = Point.BEFORE_STEP, Point.AFTER_BACKWARD
        present = states > GradState.NONE
        after = root_of_squares(norms[made][present[made]]) if present[made].any() else None
        self.norms.append(NormsPoint(row, time.time(), norms[used], present[used], after, modules, parameters))


def root_of_squares(norms: Array) -> float:
    """The norm of all gradients together, by the norm of each; non-finite where one is."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.sum(norms * norms)))
