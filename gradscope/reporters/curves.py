"""What TensorBoard is to show of one optimizer, thinned as the rows come: bytes are time."""
from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from gradscope.events import GradState, Point
from gradscope.record.record import Array, Wiring

CURVE_GROWTH, MODULE_GROWTH, PARAMETER_GROWTH = 0.02, 0.1, 0.3
_NO_LOSS, _NONE = int(Wiring.NO_LOSS), int(GradState.NONE)
_MADE, _USED = int(Point.AFTER_BACKWARD), int(Point.BEFORE_STEP)


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

    With 0.02: at all of the first 100, some 370 times in 20,000, 560 times in a million.
    """

    def __init__(self, growth: float) -> None:
        self._factor, self.next = 1 + growth, 1

    def due(self, count: int) -> bool:
        """Whether to take this count."""
        if count < self.next:
            return False
        self.next = max(count + 1, int(count * self._factor))
        return True


class Curves:
    """One optimizer's points since they were taken last.

    The loss of single rows is noise, at batch 1 above all: so a thinned point is the mean over all rows since the
    previous one; a NaN among them makes it NaN. Gradient norms are known of measured rows only.
    """

    def __init__(self) -> None:
        self.points: list[CurvePoint] = []
        self.norms: list[NormsPoint] = []
        self._rows = 0
        self._pace, self._modules, self._parameters = Pace(CURVE_GROWTH), Pace(MODULE_GROWTH), Pace(PARAMETER_GROWTH)
        self._forget()
        self._newest: Mapping[str, Any] | None = None  # the newest row, while no point holds it

    def _forget(self) -> None:
        self._losses = self._joint_losses = self._norms = 0.0  # sums since the newest point
        self._with_loss = self._with_norm = 0

    def rows(self, columns: Mapping[str, Any], measured: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Take in finished rows, each column # (rows, ...), with the arrays of those that were measured."""
        at, count = 0, len(columns["row"])
        waiting = list(reversed(measured))
        while at < count:
            stop = min(count, at + max(1, self._pace.next - self._rows))
            if waiting and waiting[-1][0] < stop:
                stop = waiting[-1][0] + 1
            known = columns["wiring"][at:stop] & _NO_LOSS == 0
            self._with_loss += int(known.sum())
            self._losses += float(columns["loss"][at:stop][known].sum())
            self._joint_losses += float(columns["joint_loss"][at:stop][known].sum())
            self._rows += stop - at
            self._newest = {name: columns[name][stop - 1] for name in ("row", "lr", "loss_scale")}
            if waiting and waiting[-1][0] == stop - 1:
                self._with_norm += 1
                self._norms += float(columns["grad_norm"][stop - 1])
                self._measured(int(columns["row"][stop - 1]), waiting.pop()[1])
            if self._rows >= self._pace.next and self._pace.due(self._rows):
                self._point()
            at = stop

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
                    _mean(self._losses, self._with_loss),
                    _mean(self._joint_losses, self._with_loss),
                    _mean(self._norms, self._with_norm),
                    tuple(scalars["lr"]),
                    float(scalars["loss_scale"]),
                )
            )
            self._forget()

    def _measured(self, row: int, arrays: Mapping[str, Any]) -> None:
        modules, parameters = self._modules.due(self._rows), self._parameters.due(self._rows)
        if not (modules or parameters):
            return
        norms, present = np.asarray(arrays["norm"], np.float64), np.asarray(arrays["state"]) > _NONE
        after = root_of_squares(norms[_MADE][present[_MADE]]) if present[_MADE].any() else None
        self.norms.append(NormsPoint(row, time.time(), norms[_USED], present[_USED], after, modules, parameters))


class MetricCurve:
    """A metric's points since they were taken last, (step, wall time, value), as sparse as the loss's."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float, float]] = []
        self._pace = Pace(CURVE_GROWTH)
        self._values, self._since, self._total, self._row = 0, 0, 0.0, 0

    def value(self, row: int, value: float) -> None:
        """Take in a value that came when `row` was the newest."""
        self._values, self._since, self._total, self._row = self._values + 1, self._since + 1, self._total + value, row
        if self._pace.due(self._values):
            self.end()

    def end(self) -> None:
        """The values since the newest point get one too."""
        if self._since:
            self.points.append((max(0, self._row), time.time(), self._total / self._since))
        self._since, self._total = 0, 0.0

    def take(self) -> list[tuple[int, float, float]]:
        """The points so far; they are forgotten here."""
        points, self.points = self.points, []
        return points


def _mean(total: float, count: int) -> float | None:
    return float(total / count) if count else None


def root_of_squares(norms: Array) -> float:
    """The norm of all gradients together, by the norm of each # (any,) float64; non-finite where one is."""
    return math.sqrt(float(np.dot(norms, norms)))
