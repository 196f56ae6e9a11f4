"""What the figures are: of findings what counts, and shares with their binomial confidence intervals."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WORSE = 1.1  # times its twin's result, and a faulty program does worse
HEALED = 1.2  # times its twin's result at most, and the advice has healed it


@dataclass(frozen=True)
class Alarm:
    """One error or warning of a tool: what it says, the step (None: not told), the rules that this amounts to."""

    says: str
    step: int | None
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """So many of so many, with the 95 % interval of Clopper and Pearson (exact, from the binomial distribution)."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.stats import binomtest  # comes with scikit-learn

        if not self.of:
            return 0.0, 1.0
        interval = binomtest(self.hits, self.of).proportion_ci(0.95, "exact")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hits} of {self.of} ({100 * low:.0f}-{100 * high:.0f} %)"


def found(alarms: Sequence[Alarm]) -> bool:
    """Whether a faulty program raised an alarm at all."""
    return bool(alarms)


def first_right(alarms: Sequence[Alarm], codes: Sequence[str]) -> bool:
    """Whether the first alarm names the fault."""
    return bool(alarms) and not set(codes).isdisjoint(alarms[0].codes)


def named(alarms: Sequence[Alarm], codes: Sequence[str]) -> bool:
    """Whether any alarm names the fault."""
    return any(not set(codes).isdisjoint(alarm.codes) for alarm in alarms)


def worse(result: float, twin: float) -> bool:
    """Whether a result is that of a run that has been hurt. Results may be negative (minus a return)."""
    return not math.isfinite(result) or result > twin + (WORSE - 1) * abs(twin)


def healed(result: float, twin: float) -> bool:
    """Whether it comes within 20 % of its twin's."""
    return math.isfinite(result) and result <= twin + (HEALED - 1) * abs(twin)


def learns(start: float, result: float) -> bool:
    """Whether a clean program has learned: its result is well below what it started from."""
    return math.isfinite(result) and not worse(result, start) and worse(start, result)
