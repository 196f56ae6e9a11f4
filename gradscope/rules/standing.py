"""Where a stream's loss stands: against its start, and against what it is worth to know nothing."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.facts.model import ConstantGuess
from gradscope.record.record import Record, Stream
from gradscope.rules.chance import chances

_FIRST, _NEWEST = 2, 32  # losses
_SECOND_LOOK = 66  # the row by which graphs have been looked at again


@dataclass(frozen=True)
class Standing:
    """`now` is the mean of the newest losses, `level` that of knowing nothing: `chance` where it is known (else 0), or
    the start, whichever is lower. `rising`: the learning rate still rises.
    """

    rows: int
    start: float
    now: float
    level: float
    chance: float
    rising: bool

    @property
    def share(self) -> float:
        """Of the level, still there."""
        return self.now / self.level if self.level > 0 else 0.0

    @property
    def trained_before(self) -> bool:
        """It began better than a guess."""
        return self.chance > 0 and self.start < 0.8 * self.chance


def standing(record: Record, stream: Stream) -> Standing | None:
    """None where no two losses are known, or they are not finite any more. Of several courses, the one of most rows."""
    courses = stream.optimizers[0].scalars["course"]
    if len(courses) < 4 or not len(stream.loss):
        return None
    kinds, counts = np.unique(courses, return_counts=True)
    mine = courses == kinds[counts.argmax()]
    losses, lr = stream.loss[mine], stream.optimizers[0].lr[mine]
    if len(losses) < 4 or not np.isfinite(losses[:_FIRST]).all() or not np.isfinite(losses[-1]):
        return None
    newest = losses[-min(_NEWEST, max(4, len(losses) // 4)) :]
    start, now = float(losses[:_FIRST].mean()), float(newest[np.isfinite(newest)].mean())
    chance = known_chance(record, stream)
    level = min(start, chance) if chance else start
    quarter = max(1, len(lr) // 4)
    rising = bool(len(lr) and lr[-1].max(initial=0.0) > 1.02 * lr[:-quarter].max(initial=0.0))
    rows = int(sum(blocks["rows"].sum() for blocks in stream.courses.values()))
    return Standing(rows, start, now, level, chance, rising)


def known_chance(record: Record, stream: Stream) -> float:
    """ln C of a cross entropy, the targets' variance of a mean squared error; 0 where neither is known."""
    numbers = {o.number for o in stream.optimizers}
    guesses = [
        float(example.loss)
        for entry in record.facts.of(ConstantGuess)
        for example in entry.examples
        if isinstance(example, ConstantGuess) and example.optimizer in numbers
    ]
    if guesses:
        return float(np.mean(guesses))
    classes = chances(record, stream)
    return math.log(min(classes)) if classes else 0.0


def lately(row: int, rows: int) -> bool:
    """Whether what was seen at `row` may still be there after so many rows: it would have been looked at again."""
    return rows <= _SECOND_LOOK or row >= rows / 4
