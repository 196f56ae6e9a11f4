"""Whether a loss has never left the level of knowing nothing."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loss import LossFunction
from gradscope.rules.steps import Steps, windows_mean


@dataclass(frozen=True)
class Level:
    """The loss has stayed at `now` since the first row; `level` is what it is worth to know nothing."""

    now: float
    level: float
    rows: int


def stuck(steps: Steps, rows: int, kept: float) -> Level | None:
    """Where none of the windows of the run lies below `kept` of the level that it began at, for `rows` rows or more.

    Of a cross entropy of torch's the level is ln C, where the run began there or above (a fine-tuning begins below); of
    any other loss the median of the first 16. A learning rate that is 0, or still rises, or has been brought down, says
    nothing.
    """
    losses, lr = steps.losses, steps.lr
    if len(losses) < max(rows, 32) or not np.isfinite(losses).all() or not steps.level > 0:
        return None
    if not lr.max() > 0 or lr[-1] > 1.02 * lr[: -len(lr) // 4].max(initial=0.0) or lr[-1] < 0.1 * lr.max():
        return None
    first = float(np.median(losses[:16]))
    level = steps.chance if _guesses(steps) else first
    window = min(steps.window(25), len(losses) // 4)
    means = windows_mean(losses, window)
    if first < kept * level or not means.min() > kept * level:
        return None
    now = float(losses[-window:].mean())
    return Level(now, level, len(losses)) if now < 2 * level else None


def _guesses(steps: Steps) -> bool:
    """Whether the loss is known to be one for which guessing has a price."""
    facts = newest_of(steps.record.facts.of(LossFunction))
    mine = [fact for fact in facts if fact.optimizer == steps.optimizer.number]
    return not np.isnan(steps.chance) and any(fact.function.endswith("cross-entropy") for fact in mine)
