"""The step axis: which rows lie in a range of steps, and in which column each stands."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.record import Array

LAST = 1 << 53  # steps beyond it cannot be told apart in a browser


@dataclass(frozen=True)
class Axis:
    """Columns of rows: column i holds `rows[cuts[i]]` to before `rows[cuts[i + 1]]`, at least one.

    `edges` # (columns + 1,) are the first step of each, then the end.
    """

    rows: Array  # (rows,) steps, ascending
    first: int  # where `rows` begins in what it is a part of
    cuts: Array  # (columns + 1,)
    edges: Array  # (columns + 1,) float64

    def __len__(self) -> int:
        return len(self.cuts) - 1

    @property
    def counts(self) -> Array:
        """# (columns,) rows in each"""
        return np.diff(self.cuts)


def axis_of(steps: Array, end: int, start: int | None, stop: int | None, width: int) -> Axis:
    """Rows at these `steps`, ascending; the last one stands until `end`. Each stands until the next one.

    Those that stand anywhere in `start` to `stop` (inclusive; None: open) are taken: each a column of its own where
    there are at most `width`, else in columns of equally many steps; one without a row is joined to that before it.
    """
    low = 0 if start is None else max(0, int(np.searchsorted(steps, start, "right")) - 1)
    high = len(steps) if stop is None else int(np.searchsorted(steps, stop, "right"))
    rows = steps[low : max(low, high)]
    if start is not None and high == len(steps) and start >= end:
        rows = rows[:0]
    if not len(rows):
        return Axis(rows, low, np.zeros(1, np.int64), np.zeros(1))
    after = int(steps[high]) if high < len(steps) else max(end, int(rows[-1]) + 1)
    if len(rows) <= width:
        cuts = np.arange(len(rows) + 1)
        return Axis(rows, low, cuts, np.append(rows, after).astype(np.float64))
    origin = int(rows[0])
    size = -(-(after - origin) // width)
    bins = (rows - origin) // size
    begins = np.flatnonzero(np.diff(bins, prepend=-1))
    edges = np.append(origin + bins[begins] * size, after).astype(np.float64)
    return Axis(rows, low, np.append(begins, len(rows)), edges)


def usable(steps: Array) -> Array:
    """The steps that can be ones, each once, ascending."""
    if len(steps) and 0 <= steps[0] and steps[-1] < LAST and bool((steps[1:] > steps[:-1]).all()):
        return steps  # as they are written
    return np.unique(steps[(steps >= 0) & (steps < LAST)])
