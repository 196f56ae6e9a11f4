"""Whether a loss has never left the level of knowing nothing."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loss import LossFunction
from gradscope.facts.operations import TargetSpread
from gradscope.record.record import Record
from gradscope.rules.steps import Steps, windows_mean

_SPREADS = 4  # batches whose targets were looked at


@dataclass(frozen=True)
class Level:
    """The loss has stayed at `now` for so many rows; `level` is what it is worth to know nothing."""

    now: float
    level: float
    rows: int


def stuck(steps: Steps, rows: int, kept: float) -> Level | None:
    """Where no window of the run lies below `kept` of that level (as far as noise tells), for `rows` rows or more.

    The level is ln C for a cross entropy of torch's, the variance of the targets for a mean squared error: a run that
    begins below it (fine-tuning) is not stuck. For any other loss it is the median of the first 16. A learning rate
    that is 0, or still rises, or has been brought down, says nothing.
    """
    losses, lr = steps.losses, steps.lr
    if len(losses) < max(rows, 32) or not np.isfinite(losses).all() or not steps.level > 0:
        return None
    if not lr.max() > 0 or lr[-1] > 1.02 * lr[: -len(lr) // 4].max(initial=0.0) or lr[-1] < 0.1 * lr.max():
        return None
    first = float(np.median(losses[:16]))
    level = _known(steps) or first
    window = min(steps.window(25), len(losses) // 4)
    means = windows_mean(losses, window)
    now = float(losses[-window:].mean())
    lowest = kept * level - 3 * float(losses[-2 * window :].std()) / math.sqrt(window)
    if first < kept * level or not lowest < now < 2 * max(level, first) or means.min() <= lowest:
        return None
    return Level(now, level, len(losses))


def came_down(record: Record, number: int, level: float, to: float = 0.9) -> bool:
    """Whether the newest losses of a stream lie below `to` of `level`."""
    stream = next((stream for stream in record.streams if stream.number == number), None)
    if stream is None:
        return False
    newest = stream.loss[-max(25, len(stream.loss) // 8) :]
    return bool(len(newest) and np.isfinite(newest).all() and newest.mean() < to * level)


def _known(steps: Steps) -> float:
    """What guessing costs; 0 where that is not known."""
    number, facts = steps.optimizer.number, steps.record.facts
    functions = [fact for fact in newest_of(facts.of(LossFunction)) if fact.optimizer == number]
    if not math.isnan(steps.chance) and any(fact.function.endswith("cross-entropy") for fact in functions):
        return steps.chance
    examples = [fact for entry in facts.of(TargetSpread) for fact in entry.examples if isinstance(fact, TargetSpread)]
    spreads = [fact.variance for fact in examples if fact.optimizer == number]
    return float(np.mean(spreads)) if len(spreads) >= _SPREADS else 0.0
