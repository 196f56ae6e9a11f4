"""Which rows are measured, not only watched."""
from __future__ import annotations

import math
from statistics import median

FIRST_ROWS = 32  # always measured
BUDGET = 0.02  # of the loop's own time, unless told otherwise; watching the calls themselves comes on top
_TURNS = 2 * 3 * 5 * 7  # streams take turns in such patterns: a stride with a factor of them would pass some by
_WINDOW = 64  # rows of each kind whose cost is remembered


class Sampling:
    """Every row, every k-th as pinned by `every`, or k chosen so that measuring stays within the budget.

    k is chosen anew each time the number of rows has doubled: the median cost of a measured row, less that of a row
    that is only watched, spread over k rows, is to be within the budget of the median step.
    """

    def __init__(self, every: int | None = None, budget: float = BUDGET) -> None:
        self.every, self.budget = every, budget
        self.stride = every or 1
        self.changes: list[tuple[int, int]] = [(0, self.stride)]  # (row, stride from there on)
        self._choose_at = FIRST_ROWS
        self._measured: list[float] = []
        self._watched: list[float] = []
        self._steps: list[float] = []

    def measured(self, row: int) -> bool:
        """Whether this row's statistics are taken."""
        if row < FIRST_ROWS and self.every is None:
            return True
        return row % self.stride == 0

    def row_done(self, row: int, cost: float, elapsed: float, streams: int = 1) -> None:
        """One row took `elapsed` seconds in all, `cost` of them ours; optimizers of `streams` streams take turns."""
        if self.every is not None or row < FIRST_ROWS // 4:  # the first rows pay for imports, names and close looks
            return
        for costs, value in (
            (self._measured if self.measured(row) else self._watched, cost),
            (self._steps, max(0.0, elapsed - cost)),
        ):
            costs.append(value)
            del costs[:-_WINDOW]
        if row + 1 >= self._choose_at:
            self._choose_at = 2 * (row + 1)
            self._choose(row + 1, streams)

    def _choose(self, row: int, streams: int) -> None:
        if not self._measured:
            return
        extra = median(self._measured) - (median(self._watched) if self._watched else 0.0)
        room = self.budget * median(self._steps)
        stride = max(1, math.ceil(extra / room)) if room > 0 else self.stride
        while streams > 1 and math.gcd(stride, _TURNS) > 1:
            stride += 1
        if stride != self.stride:
            self.stride = stride
            self.changes.append((row, stride))
