"""GS205 loss-oscillating."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import Point
from gradscope.findings import Finding
from gradscope.record.blocks import Floats
from gradscope.record.record import Record, Stream
from gradscope.rules.advice import decade_down
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.middle import median


@dataclass(frozen=True)
class Swing:
    """The losses go up and down by turns: from `low` to `high` and back, over the newest `rows` of a course.

    `correlation` is that of neighbouring losses, about their running mean. `reach` is how much a step can change the
    loss, by the measured gradients and updates, as a share of the swing (NaN: nothing was measured).
    """

    low: float
    high: float
    correlation: float
    rows: int
    first: int
    reach: float


@dataclass(frozen=True)
class LossOscillating(Rule):
    """The loss goes up and down from one step to the next, by much, and does not fall: it bounces across its valley.

    What it finds
        Losses that turn at nearly every step over `rows` rows (neighbours correlate at `correlation` or below, in each
        half),
        by `swing` of their level (less where there is no noise), without falling, while the steps are long enough to be
        the cause (gradient times update).
    Why it matters
        Each step jumps over the minimum to the other side: the run makes no progress, whatever it costs.
    Sick
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    Healed
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    What to do
        Lower the learning rate by a factor of ten; normalise the inputs.
    Silent on
        Batch noise, which turns at two of three steps; an oscillation in which the loss still falls (the edge of
        stability), or has long fallen; two batches, tasks or sources by turns, where the steps are too short to be the
        cause; a learning rate that changes; losses that may rise; where no step was measured.
    Known at
        96 rows. Thresholds: {thresholds}.
    References
        Gradient descent bounces where lr exceeds 2 / sharpness: Cohen et al., https://arxiv.org/abs/2103.00065
    """

    code = "GS205"
    name = "loss-oscillating"
    severity = "warning"
    message = "the loss goes up and down by turns, {low} and {high}, over the last {rows} steps, and does not fall"
    explains = ("GS204", "GS206")

    rows: int = 64
    most_rows: int = 256
    settled: int = 32  # first rows that are passed over: a large rate may bounce at first, and settle
    correlation: float = -0.6
    swing: float = 0.3  # the median difference of neighbours, of the median loss
    clear_correlation: float = -0.9  # hardly any noise:
    clear_swing: float = 0.05  # then a smaller swing is seen
    fallen: float = 0.9  # median of the newest half against the half before: below, it falls
    reach: float = 1.0  # of the swing: what a step can change
    of_start: float = 0.1  # of the run's first losses: below, it has converged

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            if len(stream.rows) < self.settled + self.rows:
                continue
            courses = stream.optimizers[0].scalars["course"][-2 * self.most_rows :]
            newest = np.flatnonzero(courses == courses[-1])[-self.most_rows :] - len(courses)
            if len(newest) >= self.settled + self.rows:
                swing = self._swing(stream, newest, int(courses[-1]))
                if swing is not None and swing.reach >= self.reach:
                    yield self._finding(record, stream, int(courses[-1]), swing)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the loss has come down to 70 % of its lower turns."""
        stream = record.stream(finding.stream)
        if stream is None or stream not in judged(record):
            return stream is not None
        newest = stream.loss[-self.rows :]
        newest = newest[np.isfinite(newest)]
        return len(newest) > 0 and bool(median(newest) < 0.7 * float(finding.evidence["low"]))

    def _swing(self, stream: Stream, newest: np.ndarray, course: int) -> Swing | None:
        newest = newest[max(0, self.settled + len(newest) - len(stream.rows)) :]
        loss = stream.loss[newest]
        if not alternates(loss[-self.rows :]) or not np.isfinite(loss).all() or not (loss > 0).all():
            return None
        rows = self.rows
        while 2 * rows <= len(loss) and alternates(loss[-2 * rows : -rows]):
            rows *= 2
        loss, newest = loss[-rows:], newest[-rows:]
        lr = stream.optimizers[0].lr[newest]
        if (lr.max(axis=0) > 1.05 * lr.min(axis=0)).any() or not lr.max(initial=0.0) > 0:
            return None
        halves = np.log(loss).reshape(2, -1)
        correlation = max(neighbours(half) for half in halves)
        apart = median(np.abs(np.diff(loss)))
        before, now = np.median(loss.reshape(2, -1), axis=1)
        swing = self.swing if correlation > self.clear_correlation else self.clear_swing
        if correlation > self.correlation or apart < swing * median(loss) or now < self.fallen * before:
            return None
        start = stream.loss[np.flatnonzero(stream.optimizers[0].scalars["course"][:4096] == course)[:16]]
        start = start[np.isfinite(start)]
        if not len(start) or not median(loss) > self.of_start * median(start):
            return None
        low, high = np.quantile(loss, (0.25, 0.75))
        reach = reachable(stream, int(stream.rows[newest[0]])) / apart
        return Swing(float(low), float(high), correlation, rows, int(stream.rows[newest[0]]), reach)

    def _finding(self, record: Record, stream: Stream, course: int, swing: Swing) -> Finding:
        optimizer = stream.optimizers[0]
        return self.finding(
            (swing.first, int(stream.rows[-1])),
            evidence={
                "low": swing.low,
                "high": swing.high,
                "rows": swing.rows,
                "correlation": swing.correlation,
                "reach": swing.reach,
                "course": course,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            group=0 if len(optimizer.lr[-1]) == 1 else None,
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="this loss",
            advice=decade_down(record, optimizer),
        )


def alternates(loss: Floats) -> bool:
    """Whether nine of ten losses are turning points (of independent noise two of three are, give or take 5 % of 64)."""
    steps = np.diff(loss)
    return bool((steps[1:] * steps[:-1] < 0).mean() > 0.9)


def neighbours(values: Floats) -> float:
    """The correlation of neighbouring values, about the mean of each and its own neighbours."""
    rest = values - np.convolve(np.pad(values, 2, mode="edge"), np.array([1, 2, 2, 2, 1]) / 8, "valid")
    rest = rest - rest.mean()
    squares = float(rest @ rest)
    return float(rest[1:] @ rest[:-1]) / squares if squares > 0 else 0.0


def reachable(stream: Stream, first: int) -> float:
    """How much the steps since row `first` could change the loss: |gradient| * |update|; NaN where none was measured.

    Updates are measured seldom: the newest ones say how long a step is for its gradient, or whatever its gradient; the
    shorter of the two counts.
    """
    total = 0.0
    for optimizer in stream.optimizers:
        update = optimizer.arrays["update_norm"].astype(np.float64)
        gradient = optimizer.grad_norm(Point.BEFORE_STEP).astype(np.float64)
        length, norm = np.sqrt(np.nansum(update**2, axis=1)), np.sqrt(np.nansum(gradient**2, axis=1))
        known = np.isfinite(update).any(axis=1) & np.isfinite(gradient).any(axis=1) & (norm > 0)
        since = norm[optimizer.measured >= first]
        if not known.any() or not len(since):
            return np.nan
        here, newest = float(np.quantile(since, 0.9)), np.flatnonzero(known)[-16:]
        per_gradient, per_step = median(length[newest] / norm[newest]), np.quantile(length[newest], 0.9)
        total += here * float(min(per_gradient * here, per_step))
    return total
