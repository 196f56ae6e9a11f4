"""Whether a loss has risen: block means of the whole run at several scales, with their standard errors."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.blocks import Blocks, Floats
from gradscope.rules.middle import median


@dataclass(frozen=True)
class Rise:
    """`window` rows at the end of the run lie, by their mean, above the best such window.

    `since` is the row from which on they have been above, `z` the rise in standard errors, `sudden` whether most of it
    happened within one block. All levels are mean losses.
    """

    best: float
    best_at: int
    now: float
    since: int
    window: int
    z: float
    sudden: bool


@dataclass(frozen=True)
class RiseTest:
    """The newest window of blocks against the best one, at four lengths of windows."""

    z: float = 6.0
    small: float = 64.0  # rows: at as many, twice the z is asked for (few blocks tell little of their noise)
    margin: float = 0.15
    of_fall: float = 0.1
    min_rows: int = 128
    min_window: int = 32
    recovered: float = 2.0  # times the largest rise that healed
    near_top: float = 0.3  # of the highest window since the best one
    settled: float = 0.125  # of the run: so long ago is a jump, before it is told (a new curriculum may heal)
    lr_share: float = 0.8  # windows at a lower lr than this share of the present one are no standard

    def rise(self, blocks: Blocks) -> Rise | None:
        """The clearest rise that the blocks support, over all lengths of windows."""
        whole = blocks.whole
        if whole["rows"].sum() < self.min_rows or (whole["count"] == 0).any():
            return None
        rises = [self._rise(whole, length) for length in (4, 8, 16, 32) if length * whole.size >= self.min_window]
        return max((rise for rise in rises if rise is not None), key=lambda rise: rise.z, default=None)

    def _rise(self, blocks: Blocks, length: int) -> Rise | None:
        """By windows of `length` blocks."""
        if 3 * length > len(blocks):
            return None
        means = windows(blocks, length)
        lrs = np.convolve(blocks["lr"], np.full(length, 1 / length), "valid")
        past = np.where(lrs >= self.lr_share * lrs[-1], means, np.inf)[:-length]
        at = int(np.argmin(past))
        best, now = float(past[at]), float(means[-1])
        rise, fall = now - best, max(0.0, float(means[: at + 1].max()) - best)
        if not rise > 0 or rise < max(self.margin * abs(best), self.of_fall * fall):
            return None
        if rise < self.near_top * (means[at:].max() - best) or rise < self.recovered * healed(means):
            return None
        low = best + 0.3 * rise
        begin = len(means) - 1
        while means[begin - 1] > low:
            begin -= 1
        newest = blocks["mean"][-length:]
        error = standard_error(blocks, means, length, at, begin)
        if min(newest[: length // 2].mean(), newest[length // 2 :].mean()) < best + 0.5 * rise:
            return None
        needed = self.z * (1 + self.small / float(blocks["rows"].sum()))
        if rise < needed * error or _falls_again(blocks["mean"][begin:], best, error):
            return None
        split, jump = largest_step(blocks["mean"], at + length // 2, max(3, length // 4))
        sudden = jump > 0.75 * rise
        if sudden and len(blocks) - split < self.settled * len(blocks):
            return None
        since = split if sudden else min(begin + length // 2, len(blocks) - 1)
        z = rise / error if error > 0 else np.inf
        best_at = int(blocks["row"][at + length // 2])
        return Rise(best, best_at, now, int(blocks["row"][since]), length * blocks.size, z, sudden)


def windows(blocks: Blocks, length: int) -> Floats:
    """The mean loss of each window of `length` neighbouring blocks # (blocks - length + 1,)."""
    count = np.concatenate([[0.0], np.cumsum(blocks["count"])])
    total = np.concatenate([[0.0], np.cumsum(blocks["count"] * blocks["mean"])])
    means: Floats = (total[length:] - total[:-length]) / (count[length:] - count[:-length])
    return means


def healed(means: Floats) -> float:
    """The largest rise above the best so far from which the windows came down again by 60 %."""
    rises = means - np.minimum.accumulate(means)
    lowest_later = np.minimum.accumulate(means[::-1])[::-1]
    back = (means - lowest_later) >= 0.6 * rises
    return float(rises[back].max(initial=0.0))


def largest_step(means: Floats, start: int, side: int) -> tuple[int, float]:
    """The block from `start` on before which and from which on `side` blocks differ most, and by how much."""
    total = np.concatenate([[0.0], np.cumsum(means)])
    at = np.arange(max(start, side), len(means) - side + 1)
    if not len(at):
        return len(means) - 1, 0.0
    steps = (total[at + side] - 2 * total[at] + total[at - side]) / side
    return int(at[np.argmax(steps)]), float(steps.max())


def standard_error(blocks: Blocks, means: Floats, length: int, at: int, begin: int) -> float:
    """Of the difference between the newest window and the one at `at`: the largest of several estimates.

    From the blocks inside each of the two (batch means: heavy tails show there); from the bends of neighbouring windows
    before the rise began, which no steady trend has a part in (at the two coarsest scales that have enough of them);
    and, where bends do not shrink with the scale as those of independent noise do, as the way of a random walk.
    """
    inside = [blocks["mean"][start : start + length].var(ddof=1) / length for start in (at, len(means) - 1)]
    before = Blocks(blocks.size, {name: column[: begin + length] for name, column in blocks.columns.items()})
    scales = [scale for scale in (1, 2, 4, 8, 16, 32) if scale <= length]
    bends = [bend(windows(before, scale), scale) * scale / length for scale in scales]
    coarse = [variance for variance in bends if variance > 0][-2:] or [0.0]
    error = 2 * max(*inside, float(np.mean(coarse)))
    fine = bend(blocks["mean"], 1)
    if bend(windows(blocks, 4), 4) > 0.5 * fine:  # independent noise: 0.25, but for chance
        error = max(error, 6 * fine * (len(means) - 1 - at))
    return float(np.sqrt(error))


def bend(means: Floats, apart: int) -> float:
    """The noise variance of windows `apart` from each other, from their second differences (0 for fewer than six)."""
    bends = means[2 * apart :] - 2 * means[apart:-apart] + means[: -2 * apart]
    if len(bends) < 3 * apart + 1:
        return 0.0
    return float(median(np.abs(bends)) / 0.6745) ** 2 / 6


def _falls_again(since: Floats, best: float, error: float) -> bool:
    """Whether the blocks since the rise began are on their way down, by a tenth of what is left from third to third."""
    third = len(since) // 3
    if third < 3:
        return False
    last = float(since[-third:].mean())
    return float(since[-2 * third : -third].mean()) - last > max(error, 0.1 * (last - best))
