"""The total gradient norms of an optimizer's steps, and what to clip them at."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np
import numpy.typing as npt

from gradscope.events import GradState, Point
from gradscope.facts.fact import newest_of
from gradscope.facts.gradients import Clipping
from gradscope.findings import Advice, show
from gradscope.record.record import Array, OptimizerRecord, Record

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Norms:
    """Of each measured row: its number, the total L2 norm that its last backward left, and that which its step used.

    All # (measured,). NaN: not seen, or not finite; `used` is 0 where the step found no gradient.
    """

    rows: Array
    made: Floats
    used: Floats


def norms(optimizer: OptimizerRecord) -> Norms:
    """Of all parameters together."""
    made, used = (_total(optimizer, point) for point in (Point.AFTER_BACKWARD, Point.BEFORE_STEP))
    return Norms(optimizer.measured, made, used)


def _total(optimizer: OptimizerRecord, point: Point) -> Floats:
    norm, state = optimizer.grad_norm(point).astype(np.float64), optimizer.grad_state(point)
    there = (state != GradState.NONE) & (state != GradState.NOT_SEEN)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.sqrt(np.square(np.where(there, norm, 0.0)).sum(axis=1))
    seen = (state != GradState.NOT_SEEN).any(axis=1)
    return np.asarray(np.where(seen & np.isfinite(total), total, np.nan))


def clips(record: Record) -> Sequence[Clipping]:
    """What is known of the lines that clip."""
    return [fact for fact in newest_of(record.facts.of(Clipping)) if isinstance(fact, Clipping)]


def tidy(value: float) -> float:
    """The nearest of ... 0.1, 0.2, 0.5, 1, 2, 5 ..., by ratios."""
    decade = float(np.floor(np.log10(value)))
    grid = [float(f"{mantissa}e{int(decade) + more}") for more in (0, 1) for mantissa in (1, 2, 5)]
    return min(grid, key=lambda one: abs(np.log(one / value)))


def clip_at(optimizer: OptimizerRecord, max_norm: float, why: str, before: float | None = None) -> Advice:
    """Clip the norm of all gradients of the optimizer at `max_norm` (`before`: it is clipped at that)."""
    values: dict[str, object] = {"optimizer": optimizer.number, "max_norm": max_norm}
    if before is not None:
        values["from"] = before
        verb = "raise" if max_norm > before else "lower"
        return Advice(f"{verb} max_norm to {show(max_norm)} (it is {show(before)}): {why}", "clip-grad-norm", values)
    text = f"clip the gradient norm at {show(max_norm)} between backward() and {optimizer.variable}.step(): {why}"
    return Advice(text, "clip-grad-norm", values)
