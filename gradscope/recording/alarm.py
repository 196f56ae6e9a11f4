"""Losses that stand out: the rows to measure although it is not their turn."""
from __future__ import annotations

import math

TIMES = 2.0
FORGOTTEN = 0.995  # the largest loss so far counts so much less with each one that comes


class LossAlarm:
    """The largest loss so far of each course, slowly forgotten, against which the next one is held."""

    def __init__(self) -> None:
        self._high: dict[int, float] = {}

    def stands_out(self, course: int, loss: float) -> bool:
        """Whether a loss is `TIMES` the largest one before it: seldom, since from then on it is the largest."""
        high = self._high.get(course)
        if high is None or high < loss < math.inf:
            self._high[course] = loss
            return high is not None and loss > TIMES * high > 0
        self._high[course] = high * FORGOTTEN
        return False
