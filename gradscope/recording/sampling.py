"""Which rows are measured, not only watched: as many as the budget affords."""
from __future__ import annotations

import math
from statistics import median

from gradscope.config import Limits

FIRST_ROWS = 32  # always measured,
SUSPICIOUS_ROWS = 8  # and so many after something was found
MAX_STRIDE = 256
_TURNS = 2 * 3 * 5 * 7  # streams take turns in such patterns: a stride with a factor of them would pass some by
_KEPT = 64  # stretches of rows of each kind whose cost is remembered
_NEVER = 1 << 62


class Sampling:
    """Every row, every k-th as pinned by `every`, or k chosen so that what is not watching stays within the budget.

    Watching the calls has a cost of its own, which the budget does not cover. k is chosen anew each time the number of
    rows has doubled: what all else has cost since then, rules and writing left out, over the measured rows (the median
    measured row at the least); that, spread over k rows, is to be within what rules and writing leave of the budget of
    the median step. With a budget of 0, nothing is measured.
    """

    def __init__(self, every: int | None = None, budget: float = Limits.budget) -> None:
        self.every, self.budget = every, budget
        self.stride = every or (1 if budget else 0)  # 0: nothing is measured
        self.changes: list[tuple[int, int]] = [(0, self.stride)]  # (row, stride from there on)
        self.next_choice = _NEVER if every is not None or budget == 0 else FIRST_ROWS
        self._whole_until = FIRST_ROWS if every is None else 0
        self._watched: list[float] = []  # seconds a row
        self._measured: list[float] = []  # the same of measured ones, as far as they are paid at once
        self._steps: list[float] = []  # seconds of the loop's own
        self._forget()

    def _forget(self) -> None:
        self._rows = self._measured_rows = 0
        self._spent = self._others = 0.0

    def measured(self, row: int) -> bool:
        """Whether this row's statistics are taken."""
        return self.next_measured(row) == row

    def next_measured(self, row: int) -> int:
        """The first row from this one on whose statistics are taken."""
        if self.every is None:
            if self.budget == 0:
                return _NEVER
            if row < self._whole_until:
                return row
        return -(-row // self.stride) * self.stride

    def whole(self, row: int) -> bool:
        """Whether it is one of the first rows, or of those after something was found."""
        return row < self._whole_until

    def suspect(self, row: int) -> None:
        """Something was found: the next rows are measured whole, where nobody has pinned k."""
        if self.every is None:
            self._whole_until = max(self._whole_until, row + SUSPICIOUS_ROWS)

    def others(self, seconds: float) -> None:
        """Rules and writing have taken so long."""
        self._others += seconds

    def rows_done(self, first: int, rows: int, cost: float, elapsed: float, streams: int = 1) -> None:
        """Rows from `first` on took `elapsed` seconds in all, `cost` of them ours.

        Only a stretch of one row may be a measured one. Optimizers of `streams` streams take turns.
        """
        if first < FIRST_ROWS // 4 or not rows:  # the first rows pay for imports, names and close looks
            self._forget()
            return
        self._rows += rows
        self._spent += cost
        _keep(self._steps, max(0.0, elapsed - cost) / rows)
        if self.measured(first):
            self._measured_rows += rows
            _keep(self._measured, cost / rows)
        else:
            _keep(self._watched, cost / rows)
        if first + rows >= self.next_choice:
            self.next_choice = 2 * (first + rows)
            self._choose(first + rows, streams)

    def _choose(self, row: int, streams: int) -> None:
        if self._measured_rows:
            watching = median(self._watched) if self._watched else 0.0
            in_all = (self._spent - self._others - watching * self._rows) / self._measured_rows
            extra = max(in_all, median(self._measured) - watching, 0.0)
            room = self.budget * median(self._steps) - self._others / self._rows
            stride = MAX_STRIDE if room * MAX_STRIDE <= extra else max(1, math.ceil(extra / room))
            while streams > 1 and math.gcd(stride, _TURNS) > 1:
                stride += 1
            if stride != self.stride:
                self.stride = stride
                self.changes.append((row, stride))
        self._forget()


def _keep(values: list[float], value: float) -> None:
    values.append(value)
    if len(values) > 2 * _KEPT:
        del values[:-_KEPT]
