"""Single steps that throw the weights off: a gradient far beyond all before it, and a step as far beyond the others."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.record.record import OptimizerRecord
from gradscope.rules.middle import median
from gradscope.rules.norms import Floats, Norms


@dataclass(frozen=True)
class Jumps:
    """What makes such a step: see the fields, which are thresholds of the rules that inherit them."""

    times: float = 10.0
    sigmas: float = 8.0
    before: int = 8  # measured rows, at least; the newest 64 count
    thrown: float = 0.1
    usual: float = 0.1

    def jumps(self, optimizer: OptimizerRecord, measured: Norms) -> Iterator[int]:
        """Indices of the measured rows with such a step.

        Its gradient is `times` the largest of those before, `sigmas` of their logarithms above the middle one, and it
        changes some weight matrix by a `thrown`-th of itself, where `usual` is the most that the median step did.
        """
        used = measured.used
        beyond = np.flatnonzero(used[1:] > self.times * np.nan_to_num(used[:-1])) + 1  # the row before, at least
        beyond = beyond[beyond >= self.before]
        ratios = _ratios(optimizer) if len(beyond) else used
        for at in map(int, beyond):
            earlier = used[max(0, at - 64) : at]
            earlier = earlier[earlier > 0]
            if len(earlier) < self.before or not used[at] > self.times * earlier.max():
                continue
            logs = np.log(earlier)
            middle = median(logs)
            spread = max(0.1, 1.4826 * median(np.abs(logs - middle)))
            known = ratios[:at][ratios[:at] > 0]
            usual = median(known) if len(known) else np.inf
            if np.log(used[at]) - middle < self.sigmas * spread or usual > self.usual:
                continue
            if ratios[at] > max(self.thrown, self.times * usual):
                yield at


def _ratios(optimizer: OptimizerRecord) -> Floats:
    """# (measured,) The largest update-to-weight ratio of all matrices; NaN: not measured."""
    matrix = np.array([len(p.shape) >= 2 for p in optimizer.parameters], np.bool_)
    updates, weights = (optimizer.arrays[name][:, matrix] for name in ("update_norm", "weight_norm"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(weights > 0, updates / weights, np.nan).astype(np.float64)
    known = np.isfinite(ratios).any(axis=1) if ratios.shape[1] else np.zeros(len(ratios), np.bool_)
    return np.asarray(np.where(known, np.nan_to_num(ratios).max(axis=1, initial=0.0), np.nan))
