"""How the losses of a course lie: block by block, along the learning rate."""
from __future__ import annotations

import math

import numpy as np

from gradscope.record.blocks import Blocks, Floats


def has_peaked(blocks: Blocks, begin: int = 0) -> bool:
    """Whether the learning rate does not rise any more, in the quarter of what came since `begin`."""
    lr = blocks["lr"]
    quarter = max(1, (len(lr) - begin) // 4)
    return bool(lr.max() > 0 and lr[-1] <= 1.02 * lr[:-quarter].max(initial=0.0))


def flat(blocks: Blocks) -> bool:
    """A cheap look: above 0, no longer falling, and not much below where it began."""
    means = blocks["mean"]
    quarter = len(means) // 4
    if quarter < 4 or (blocks["count"] == 0).any():
        return False
    now, before = float(means[-quarter:].mean()), float(means[-2 * quarter : -quarter].mean())
    return now > 0.3 * float(means[:2].mean()) and now > 1e-6 and abs(now - before) < 0.05 * now


def trend(means: Floats) -> tuple[float, float]:
    """The fall over the whole stretch by least squares, and its standard error: the larger of two estimates."""
    count = len(means)
    at = np.arange(count) - (count - 1) / 2
    slope = float(at @ means) / float(at @ at)
    rest = means - means.mean() - slope * at
    error = math.sqrt(float(rest @ rest) / (count - 2) / float(at @ at)) * count
    pairs = rest[: count // 4 * 4].reshape(-1, 4).mean(axis=1)  # correlated noise shrinks less
    wide = math.sqrt(float(pairs @ pairs) / max(1, len(pairs) - 2) * 4 / float(at @ at)) * count
    return -slope * count, max(error, wide)


def settled(means: Floats, upper: float) -> int:
    """The block from which on no eighth of the run lies above the band."""
    length = max(1, len(means) // 8)
    smooth = np.convolve(means, np.full(length, 1 / length), "valid")
    above = np.flatnonzero(smooth > upper)
    return int(above[-1]) + length if len(above) else 0
