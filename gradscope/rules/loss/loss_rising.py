"""GS203 loss-rising."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.advice import decade_down, leave_out_maximize
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.rising import Rise, RiseTest, windows


@dataclass(frozen=True)
class LossRising(RiseTest, Rule):
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
        stream = record.stream(finding.stream)
        best, now = float(finding.evidence["best"]), float(finding.evidence["now"])
        blocks = None if stream is None else stream.courses.get(int(finding.evidence["course"]))
        if blocks is None or len(blocks.whole) < 4:
            return False
        if stream not in judged(record):
            return True
        return float(windows(blocks.whole, 4)[-1]) < (best + now) / 2

    def _finding(self, record: Record, stream: Stream, course: int, rise: Rise) -> Finding:
        optimizer = stream.optimizers[0]
        mine = np.flatnonzero(optimizer.scalars["course"] == course)
        newest = mine[-1] if len(mine) else -1
        advice: tuple[Advice, ...] = leave_out_maximize(record, optimizer)
        if advice:
            cause = f": {optimizer.kind} was told to climb (maximize=True)"
        elif rise.sudden:
            cause = ", at once: something changed there"
            look = f"look at what changed around step {rise.since}: the data, the batch size, a loaded checkpoint"
            advice = (Advice(look), *decade_down(record, optimizer, "if nothing did: "))
        else:
            cause = ""
            advice = decade_down(record, optimizer)
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
