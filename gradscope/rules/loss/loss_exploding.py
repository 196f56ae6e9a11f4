"""GS202 loss-exploding."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.findings import Advice, Finding
from gradscope.record.record import Array, Record, Stream
from gradscope.rules.advice import leave_out_maximize
from gradscope.rules.base import Rule
from gradscope.rules.judged import below_zero, judged, skipped
from gradscope.rules.middle import median


@dataclass(frozen=True)
class LossExploding(Rule):
    """The loss has left its scale for good: it is many times what it started at.

    What it finds
        Losses that stay more than `times` times above the level of the run's start (the median of its first losses)
        over `sustained` rows, or that grow a hundredfold within a few rows and then are no numbers any more. Of losses
        that go below zero: those that fall without end, to `plunged` times their start and beyond.
    Why it matters
        The weights have been thrown far away; what had been learned is gone, and NaN is often next.
    Sick
        optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    Healed
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    What to do
        Lower the learning rate; where single batches throw the weights away, clip the gradient norm.
    Silent on
        A single outlier, or a few rows that heal; noise, however heavy its tail (medians are compared); a loss that is
        on its way down again (new classes); another loss, from another line or of another kind; losses that may rise
        (adversarial, reinforcement learning, with weights that change), and those below zero that keep within bounds.
    Known at
        16 rows after the losses have left their scale; 5 where they are a hundred times beyond it. Thresholds:
        {thresholds}.
    References
        Thresholds: measured on runs from scratch that blew up, and on stationary heavy-tailed losses.
    """

    code = "GS202"
    name = "loss-exploding"
    severity = "error"
    message = "the loss has left its scale: {start} at the start, {now} now ({times} times as much), since step {since}"
    explains = ("GS201", "GS203", "GS204", "GS205", "GS206", "GS401", "GS703")

    times: float = 10.0
    sustained: int = 16
    fast_times: float = 100.0
    fast_sustained: int = 5
    start_rows: int = 16
    plunged: float = 1e6  # and of 1

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            courses = stream.optimizers[0].scalars["course"]
            for course in stream.courses:
                mine = np.flatnonzero(courses == course)
                found = self._exploded(stream.loss[mine])
                if found is not None:
                    at, *levels = found
                    yield self._finding(record, stream, int(mine[at]), int(mine[-1]), *levels)
        for stream in below_zero(record):
            found = self._plunged(stream.loss)
            if found is not None:
                at, *levels = found
                yield self._finding(record, stream, at, len(stream.loss) - 1, *levels)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the losses are back at three times the start, or are not to be judged."""
        stream = record.stream(finding.stream)
        if stream is not None and stream in below_zero(record):
            newest = stream.loss[np.isfinite(stream.loss)][-self.sustained :]
            return bool(median(newest) > 0.01 * float(finding.evidence["now"]))
        if stream is None or stream not in judged(record):
            return stream is not None
        newest = stream.loss[stream.optimizers[0].scalars["course"] == finding.evidence["course"]][-self.sustained :]
        return len(newest) > 0 and bool(np.nanmedian(newest) < 3 * float(finding.evidence["start"]))

    def _exploded(self, loss: Array) -> tuple[int, float, float] | None:
        """Index of the first loss that left, level at the start, level now."""
        finite = np.isfinite(loss)
        known = loss[finite]
        at = np.flatnonzero(finite)
        if len(known) < 3 or known[0] <= 0:
            return None
        head = known[: min(self.start_rows, max(3, len(known) // 3))]
        start = median(head)
        if _spread(known[-self.sustained :]) < 0.5:  # little noise: then a run that explodes in its first rows shows
            start = min(start, 1.5 * float(head[:3].min()))
        if start <= 0:
            return None
        for count, times in ((self.sustained, self.times), (self.fast_sustained, self.fast_times)):
            newest = known[-count:]
            if len(known) >= 2 * count and (newest > times * start).mean() > 0.9 and median(newest) > times * start:
                left = self._left(known, at, start, times)
                grows = count == self.sustained or newest[-1] >= newest[0]
                if grows and not _falls(known[at >= left]):
                    return left, start, median(newest)
        gone = len(loss) - 1 - at[-1]  # rows since the last loss that was a number
        first = float(known[0])
        if gone and known[-1] > self.fast_times * first and (np.diff(known[-3:]) > 0).all():
            return self._left(known, at, first, 2.0), first, float(known[-1])
        return None

    def _plunged(self, loss: Array) -> tuple[int, float, float] | None:
        """The same of losses that fall below zero, further and further."""
        known = loss[np.isfinite(loss)]
        if len(known) < 2 * self.sustained:
            return None
        start, newest = median(known[: self.start_rows]), known[-self.sustained :]
        bound = -self.plunged * max(1.0, abs(start))
        if not newest.max() < bound or median(newest) > median(known[-2 * self.sustained : -self.sustained]):
            return None
        return int(np.argmax(loss < bound)), start, median(newest)

    @staticmethod
    def _left(known: Array, at: Array, start: float, times: float) -> int:
        """Where the losses went beyond `times` the start to stay there (but for one in ten)."""
        beyond = known > times * start
        share = np.cumsum(beyond[::-1])[::-1] / np.arange(len(known), 0, -1)
        return int(at[np.argmax(beyond & (share > 0.9))])

    def _finding(self, record: Record, stream: Stream, at: int, last: int, start: float, now: float) -> Finding:
        optimizer = stream.optimizers[0]
        lr = float(np.max(optimizer.lr[at], initial=0.0))
        cure = f"lower the learning rate (it is {lr:.3g}); if single batches do this, clip gradients"
        if now < 0:
            cure = "nothing bounds this loss from below: look for a term with the wrong sign, or clamp it"
        return self.finding(
            (int(stream.rows[at]), int(stream.rows[last])),
            evidence={
                "start": start,
                "now": now,
                "times": abs(now / start) if start else np.inf,
                "since": int(stream.rows[at]),
                "lr": lr,
                "course": int(optimizer.scalars["course"][at]),
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["backward_site"][at])),
            label="this loss",
            advice=leave_out_maximize(record, optimizer) or (Advice(cure),),
        )


def _falls(since: Array) -> bool:
    """Whether the losses that lie beyond are on their way down: new classes, a new task."""
    half = len(since) // 2
    return half >= 4 and bool(median(since[half:]) < 0.9 * median(since[:half]))


def _spread(losses: Array) -> float:
    """The standard deviation of the logarithms, from their quartiles (Gaussian: 1.35 of it lie between them)."""
    positive = losses[losses > 0]
    if len(positive) < 4:
        return np.inf
    low, high = np.quantile(np.log(positive), (0.25, 0.75))
    return float(high - low) / 1.35
