"""Which rows are measured, not only watched."""
from __future__ import annotations

import math

FIRST_ROWS = 32  # always measured
BUDGET = 0.02  # of the loop's own time, unless told otherwise


class Sampling:
    """Every row, every k-th as pinned by `every`, or k chosen so that measuring stays within the budget.

    k is chosen anew each time the number of rows has doubled, from what measured and unmeasured rows have cost.
    """

    def __init__(self, every: int | None = None, budget: float = BUDGET) -> None:
        self.every, self.budget = every, budget
        self.stride = every or 1
        self.changes: list[tuple[int, int]] = [(0, self.stride)]  # (row, stride from there on)
        self._choose_at = FIRST_ROWS
        self._measured_rows = self._plain_rows = 0
        self._measured_cost = self._plain_cost = 0.0
        self._loop_time = 0.0

    def measured(self, row: int) -> bool:
        """Whether this row's statistics are taken."""
        if row < FIRST_ROWS and self.every is None:
            return True
        return row % self.stride == 0

    def row_done(self, row: int, cost: float, elapsed: float) -> None:
        """One row took `elapsed` seconds in all, `cost` of them ours."""
        if row == 0:  # the first row pays for imports, names and close looks
            return
        if self.measured(row):
            self._measured_rows, self._measured_cost = self._measured_rows + 1, self._measured_cost + cost
        else:
            self._plain_rows, self._plain_cost = self._plain_rows + 1, self._plain_cost + cost
        self._loop_time += max(0.0, elapsed - cost)
        if self.every is None and row + 1 >= self._choose_at:
            self._choose_at = 2 * (row + 1)
            self._choose(row + 1)

    def _choose(self, row: int) -> None:
        rows = self._measured_rows + self._plain_rows
        if not rows or not self._measured_rows or self._loop_time <= 0:
            return
        step = self._loop_time / rows
        plain = self._plain_cost / self._plain_rows if self._plain_rows else 0.0
        extra = max(0.0, self._measured_cost / self._measured_rows - plain)
        room = max(self.budget * step - plain, 0.1 * self.budget * step)
        stride = max(1, math.ceil(extra / room))
        if stride != self.stride:
            self.stride = stride
            self.changes.append((row, stride))
        self._measured_rows = self._plain_rows = 0
        self._measured_cost = self._plain_cost = self._loop_time = 0.0
