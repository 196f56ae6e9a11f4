"""Medians of few values, a few times faster than numpy's own (rules take dozens of them, again and again)."""
from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_FEW = 1000  # values: of more, numpy is as fast


def median(values: npt.NDArray[Any] | Sequence[float]) -> float:
    """Of all values; NaN where one of them is, or where there are none."""
    count = np.size(values)
    if count > _FEW:
        return float(np.median(values))
    ordered: npt.NDArray[Any] = np.sort(values, axis=None)
    if not count or ordered[-1] != ordered[-1]:
        return math.nan
    return (float(ordered[(count - 1) // 2]) + float(ordered[count // 2])) / 2


def medians(values: Floats) -> Floats:
    """# (rows,) The median of each row # (rows, columns), NaN left out; 0 where there is nothing else."""
    if not values.shape[1]:
        return np.zeros(len(values))
    ordered, known = np.sort(values, axis=1), (~np.isnan(values)).sum(axis=1)
    rows, at = np.arange(len(values)), np.maximum(known - 1, 0)
    found = (ordered[rows, at // 2] + ordered[rows, (at + 1) // 2]) / 2
    return np.asarray(np.where(known > 0, found, 0.0))
