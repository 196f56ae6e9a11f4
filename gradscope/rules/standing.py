"""Where a stream's loss stands against what it is worth to know nothing, and whether it has ever left that level."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.model import GraphUnseen
from gradscope.record.record import Record, Stream
from gradscope.rules.chance import guess
from gradscope.rules.judged import skipped
from gradscope.rules.middle import median
from gradscope.rules.steps import Steps, windows_mean

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
    return record.once(("standing", stream.number), lambda: _standing(record, stream))


def _standing(record: Record, stream: Stream) -> Standing | None:
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
    chance = guess(record, stream)
    level = min(start, chance) if chance else start
    quarter = max(1, len(lr) // 4)
    rising = bool(len(lr) and lr[-1].max(initial=0.0) > 1.02 * lr[:-quarter].max(initial=0.0))
    rows = int(sum(blocks["rows"].sum() for blocks in stream.courses.values()))
    return Standing(rows, start, now, level, chance, rising)


def lately(row: int, rows: int) -> bool:
    """Whether what was seen at `row` may still be there after so many rows: it would have been looked at again."""
    return rows <= _SECOND_LOOK or row >= rows / 4


@dataclass(frozen=True)
class Level:
    """The loss has stayed at `now` for so many rows; `level` is what it is worth to know nothing."""

    now: float
    level: float
    rows: int


def stuck(steps: Steps, rows: int, kept: float) -> Level | None:
    """Where no window of the run lies below `kept` of that level (as far as noise tells), for `rows` rows or more.

    Where the level is not known, it is the median of the first 16. A run that begins below it (fine-tuning) is not
    stuck. A learning rate that is 0, or still rises, says nothing, nor do rows after it has been brought down.
    """
    losses, lr = steps.losses, steps.lr
    if len(losses) < max(rows, 32) or not np.isfinite(losses).all() or not steps.level > 0:
        return None
    if not lr.max() > 0 or lr[-1] > 1.02 * lr[: -len(lr) // 4].max(initial=0.0):
        return None
    tells = int(np.flatnonzero(lr >= 0.1 * lr.max())[-1]) + 1  # what comes after the schedule's end does not
    if tells < max(rows, 32):
        return None
    first = median(losses[:16])
    level = guess(steps.record, steps.stream) or first
    window = min(steps.window(25), len(losses) // 4)
    means = windows_mean(losses, window)
    now = float(losses[-window:].mean())
    lowest = kept * level - 3 * float(losses[-2 * window :].std()) / math.sqrt(window)
    if first < kept * level or not lowest < now < 2 * max(level, first) or means.min() <= lowest:
        return None
    return Level(now, level, len(losses))


def came_down(record: Record, number: int, level: float, to: float = 0.9) -> bool:
    """Whether the newest losses of a stream lie below `to` of `level`."""
    stream = record.stream(number)
    if stream is None:
        return False
    newest = stream.loss[-max(25, len(stream.loss) // 8) :]
    return bool(len(newest) and np.isfinite(newest).all() and newest.mean() < to * level)


def unseen(record: Record) -> str:
    """Of rules about activations: what is not judged, and why."""
    hidden = {f"{fact.why} hides what is activated" for fact in newest_of(record.facts.of(GraphUnseen))}
    return "; ".join([*sorted(hidden), *filter(None, [skipped(record)])])
