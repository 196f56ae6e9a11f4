"""Whether class labels fit the samples that they came with better than others of their batch."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradscope.facts.labels import LabelFit

_LEAST = 8  # labels of a batch
_VARIES = 1e-4  # of what a label costs: a batch of one class, or a model that gives the same to all, tells nothing


class Fit(NamedTuple):
    """Of one backward: see `hooks/labels.py`. `fresh`: nothing has come twice yet."""

    row: int
    fresh: bool
    labels: float
    gain: float
    squares: float
    blind: float

    @property
    def tells(self) -> bool:
        if self.labels < _LEAST or not all(map(math.isfinite, (self.gain, self.squares, self.blind))):
            return False
        return math.sqrt(self.squares * self.labels) > _VARIES * abs(self.blind)


def label_fit(fits: Sequence[Fit], row: int, optimizer: int) -> LabelFit | None:
    """Of the samples that were new, and of the newest quarter of the run; None where none were new."""
    told = [fit for fit in fits if fit.tells]
    fresh, late = [fit for fit in told if fit.fresh], [fit for fit in told if fit.row >= 0.75 * row]
    count, late_count = (sum(fit.labels for fit in part) for part in (fresh, late))
    if not count or not late_count:
        return None
    return LabelFit(
        row=row,
        optimizer=optimizer,
        looks=len(fresh),
        samples=int(count),
        gain=sum(fit.gain for fit in fresh) / count,
        error=math.sqrt(sum(fit.squares for fit in fresh)) / count,
        blind=sum(fit.blind for fit in fresh) / count,
        since=late[0].row,
        late_gain=sum(fit.gain for fit in late) / late_count,
        late_blind=sum(fit.blind for fit in late) / late_count,
    )
