"""GS203 loss-rising."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts import Hyperparameters, newest_of
from gradscope.findings import Advice, Finding
from gradscope.record.blocks import Blocks, Floats
from gradscope.record.record import OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped


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
class LossRising(Rule):
    """The loss has risen significantly above its best, and stays there.

    What it finds
        The mean loss over a window at the end of the run (a 32nd to a third of it) lies above the best earlier window
        of the same length, by `z` standard errors, by `margin` of the best level, and by `of_fall` of what was gained.
    Why it matters
        Training undoes what it has learned. Under the noise of single batches nobody sees it for an epoch or two.
    Sick
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)  # batch size 1: falls for three epochs, then climbs
    Healed
        optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    What to do
        Lower the learning rate by a factor of ten, where nothing else is known to be the cause. Where the loss jumped
        at once, look at what changed there: the data, the batch size, a reloaded checkpoint.
    Silent on
        Noise at any batch size, with heavy tails and correlations; a rise like one that healed before (per-epoch
        periodicity); a loss that falls again after a jump (a new curriculum); a learning rate that has risen since
        (warm restarts, warm-up); another loss, from another line or of another kind; losses that may rise:
        adversarial, of reinforcement learning, below zero, with weights that change (annealing).
    Known at
        128 rows, and then about a 32nd of the run after the rise. Thresholds: {thresholds}.
    References
        Batch means as standard errors: Alexopoulos and Seila, Output data analysis (Handbook of Simulation, 1998).
        Noise from second differences: Gasser, Sroka and Jennen-Steinmetz, Biometrika 73 (1986).
    """

    code = "GS203"
    name = "loss-rising"
    severity = "warning"
    message = (
        "the loss has risen since step {since}: {best} at its best (around step {best_at}), "
        "{now} over the last {window} steps{cause}"
    )
    explains = ("GS204", "GS205", "GS206")

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

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            for course, blocks in stream.courses.items():
                rise = self.rise(blocks)
                if rise is not None:
                    yield self._finding(record, stream, course, rise)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the newest losses have come half of the way back, or are not to be judged."""
        stream = next((s for s in record.streams if s.number == finding.stream), None)
        best, now = float(finding.evidence["best"]), float(finding.evidence["now"])
        blocks = None if stream is None else stream.courses.get(int(finding.evidence["course"]))
        if blocks is None or len(blocks.whole) < 4:
            return False
        if stream not in judged(record):
            return True
        return float(windows(blocks.whole, 4)[-1]) < (best + now) / 2

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

    def _finding(self, record: Record, stream: Stream, course: int, rise: Rise) -> Finding:
        optimizer = stream.optimizers[0]
        mine = np.flatnonzero(optimizer.scalars["course"] == course)
        newest = mine[-1] if len(mine) else -1
        settings = [
            f for f in newest_of(record.facts.of(Hyperparameters)) if f.optimizer == optimizer.number and f.values
        ]
        climbs = any(f.values.get("maximize") is True for f in settings)
        if climbs:
            cause = f": {optimizer.kind} was told to climb (maximize=True)"
            advice: tuple[Advice, ...] = (Advice("leave out maximize=True: the loss is to be made small"),)
        elif rise.sudden:
            cause = ", at once: something changed there"
            look = f"look at what changed around step {rise.since}: the data, the batch size, a loaded checkpoint"
            advice = (Advice(look), *_lower(optimizer, "if nothing did: "))
        else:
            cause = ""
            advice = _lower(optimizer)
        return self.finding(
            (rise.since, int(stream.rows[newest])),
            evidence={
                "since": rise.since,
                "best": rise.best,
                "best_at": rise.best_at,
                "now": rise.now,
                "window": rise.window,
                "cause": cause,
                "standard_errors": rise.z,
                "course": course,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            group=0 if len(optimizer.lr[-1]) == 1 else None,
            where=record.site(int(optimizer.scalars["backward_site"][newest])),
            label="this loss",
            advice=advice,
        )


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
    return float(np.median(np.abs(bends)) / 0.6745) ** 2 / 6


def _falls_again(since: Floats, best: float, error: float) -> bool:
    """Whether the blocks since the rise began are on their way down, by a tenth of what is left from third to third."""
    third = len(since) // 3
    if third < 3:
        return False
    last = float(since[-third:].mean())
    return float(since[-2 * third : -third].mean()) - last > max(error, 0.1 * (last - best))


def _lower(optimizer: OptimizerRecord, condition: str = "") -> tuple[Advice, ...]:
    """A decade down, on the 1-3-10 grid, for each group."""
    advice = []
    for group, lr in enumerate(map(float, optimizer.lr[-1])):
        if lr > 0:
            to = grid_1_3_10(lr / 10)
            values = {"optimizer": optimizer.number, "group": group, "from": lr, "to": to}
            which = f" of group {group}" if len(optimizer.lr[-1]) > 1 else ""
            advice.append(Advice(f"{condition}lower lr{which} to {to:g} (it is {lr:g})", "set-lr", values))
    return tuple(advice[:4])


def grid_1_3_10(value: float) -> float:
    """The largest of ... 0.001, 0.003, 0.01 ... that is not above `value`."""
    decade = np.floor(np.log10(value * (1 + 1e-9)))
    mantissa = 3 if value * (1 + 1e-9) >= 3 * 10.0**decade else 1
    return float(f"{mantissa}e{int(decade)}")
