"""GS206 loss-spike."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.findings import Advice, Finding
from gradscope.record.blocks import Floats
from gradscope.record.record import Array, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.middle import median


@dataclass(frozen=True)
class Spike:
    """The loss jumps from `before` to `peak` at index `at`, and stays worse than before for `worse` rows."""

    at: int
    before: float
    peak: float
    worse: int


@dataclass(frozen=True)
class LossSpike(Rule):
    """The loss jumps far out of its own noise, and comes back: single batches throw the model off.

    What it finds
        Losses far above those before, beyond what the run's own noise ever did, that leave the rows after them worse
        than those before. `recurring` of them, worse than the untrained model, are a warning; so are as many that stand
        `far` above it and apart from all others, by the tail of these. A single one, or a few: info.
    Why it matters
        A batch whose targets are corrupt, or whose scale is another, undoes the work of many steps each time.
    Sick
        targets[bad] = 1e4  # a few rows of the file were never cleaned
    Healed
        targets = targets[targets.abs() < 10]
    What to do
        Look at the batches of the named steps. Where nothing is wrong with them, clip the gradient norm.
    Silent on
        Noise, heavy tails included; spikes of a run that still improves between them and that stay below its start; a
        warm-up that heals; changes of the learning rate (warm restarts); new tasks; losses that may rise.
    Known at
        The third spike within the newest rows, once the loss has come back. Thresholds: {thresholds}.
    References
        Spacings of the largest values of a heavy tail: Renyi, Acta Math. Hung. 4 (1953); Hill, Ann. Stat. 3 (1975).
        Several that return count as one: they may be the same sample, once an epoch.
    """

    code = "GS206"
    name = "loss-spike"
    severity = "info"
    message = "the loss jumped from {before} to {peak} at step {at}{more}"

    newest: int = 16384  # rows looked at
    start_rows: int = 16
    before_rows: int = 32
    times: float = 3.0  # from one row to the next,
    sigmas: float = 8.0  # and of the differences of neighbours (of the logarithms)
    worse: int = 4  # so many rows after it are worse than all of those before
    worse_by: float = 1.25
    heals_within: int = 512
    task: int = 64  # rows: what takes longer to come back, and falls steadily from its first row on, is a new task
    recurring: int = 3
    of_start: float = 1.5  # a peak beyond it is worse than the untrained model
    far: float = 10.0  # times the start: then they need not leave a trace,
    share: float = 0.05  # being at most so many of the rows;
    share_apart: float = 0.2  # more, and from the first rows on, where they stand
    apart: float = 30.0  # times all others
    small: float = 0.3  # of the start: a peak below it is not told
    spacing: float = 12.0  # above the next largest losses, in mean spacings of the tail

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            if len(stream.rows) < 3 * self.before_rows:
                continue
            optimizer = stream.optimizers[0]
            courses = optimizer.scalars["course"]
            course = int(courses[-1])
            first = np.flatnonzero(courses[:4096] == course)[: self.start_rows]
            known = stream.loss[first][np.isfinite(stream.loss[first])]
            start = median(known) if len(known) else np.nan
            which = np.flatnonzero(courses[-self.newest :] == course) + max(0, len(courses) - self.newest)
            if not 0 < start < np.inf or len(which) < 3 * self.before_rows:
                continue
            lr = optimizer.lr.max(axis=1, initial=0.0) if optimizer.lr.shape[1] else np.ones(len(courses))
            spikes = self._spikes(stream.loss[which], lr[which], start)
            returning = self._returning(stream.loss[which], int(which[0]), start)
            if spikes or returning:
                recurs = bool(returning) or self._recurs(stream.loss[which], spikes, start)
                yield self._told(record, stream, which, returning or spikes, recurs)
            elif course in stream.courses:
                yield from self._alone(record, stream, course)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until none has come for long, or the loss is not to be judged."""
        stream = record.stream(finding.stream)
        if stream is None or stream not in judged(record):
            return stream is not None
        return int(stream.rows[-1]) - finding.steps[1] > self.newest

    def _spikes(self, loss: Array, lr: Array, start: float) -> list[Spike]:
        """Those that left the rows after them worse, and healed."""
        known = np.where(np.isfinite(loss), np.maximum(loss, 1e-9 * start), start)
        if not (known[1:] > self.times * known[:-1]).any():
            return []
        sample = np.diff(np.log(known[-1024:]))
        factor = np.exp(min(50.0, max(np.log(self.times), self.sigmas * 1.4826 * median(np.abs(sample)))))
        jumps = np.flatnonzero((known[1:] > factor * known[:-1]) & (known[1:] > self.small * start)) + 1
        if not 0 < len(jumps) <= 64:
            return []
        spikes: list[Spike] = []
        free = self.before_rows  # where the one before has healed
        for at in map(int, jumps):
            before, after = known[at - self.before_rows : at], known[at + 1 : at + 1 + self.worse]
            if at < free or len(after) < self.worse or lr[at] > 1.2 * lr[at - self.before_rows]:
                continue
            if after.min() <= max(float(before.max()), self.worse_by * median(before)):
                continue
            worse = self._healed(known[at + 1 : at + 1 + self.heals_within], before)
            learned = worse > self.task and known[at] < 2 * after.max()  # a new task, or data of another kind
            if worse and not learned:
                spikes.append(Spike(at, median(before), float(known[at : at + 8].max()), worse))
                free = at + worse
        return spikes

    @staticmethod
    def _healed(after: Floats, before: Floats) -> int:
        """Rows until the running mean is back near the level before; 0: it is not."""
        if len(after) < 8:
            return 0
        level = np.log(before)
        means = np.convolve(np.log(after), np.full(8, 1 / 8), "valid")
        back = float(level.mean()) + max(np.log(1.1), 2 * float(level.std()) / np.sqrt(8))
        healed = np.flatnonzero(means <= back)
        return int(healed[0]) + 4 if len(healed) else 0

    def _returning(self, loss: Array, first: int, start: float) -> list[Spike]:
        """Losses that return far above the start, and far above all others: the same corrupt samples each time.

        Not those of the run's first rows, nor in one burst. `first` is the place of the first loss in the run.
        """
        high = np.flatnonzero(loss > self.far * start)
        later = high[high + first >= self.before_rows]
        if not self.recurring <= len(later) <= len(high) <= self.share_apart * len(loss):
            return []
        if (np.diff(later) > self.worse).sum() < self.recurring - 1:
            return []
        others = np.delete(loss, high)
        others = others[np.isfinite(others) & (others > 0)]
        gap = float(loss[high].min() / others.max(initial=0.0)) if len(others) > 32 else 0.0
        often = len(later) < len(high) or len(high) > self.share * len(loss)
        if gap < (self.apart if often else self.times):
            return []
        others = others[max(0, self.before_rows - first) :]  # the fall from the start is no tail
        tail = np.log(np.sort(np.partition(others, -17)[-17:]))
        if np.log(gap) < self.spacing * max(0.02, float(tail[1:].mean() - tail[0])):
            return []
        middle = median(others)
        return [Spike(int(at), middle, float(loss[at]), 0) for at in later]

    def _recurs(self, loss: Array, spikes: list[Spike], start: float) -> bool:
        """Three that threw the model below its start, and no new tasks: those fall from a start of their own, and at
        regular times."""
        bad = [s for s in spikes if s.peak > self.of_start * start]
        if len(bad) < self.recurring:
            return False
        gaps = np.diff([s.at for s in bad])
        worse = sum(s.worse for s in bad[:-1]) / float(gaps.sum())
        falls_off = median([loss[s.at] / loss[s.at + 1 : s.at + 1 + self.worse].max() for s in bad])
        regular = len(gaps) > 1 and gaps.max() - gaps.min() <= max(2, 0.05 * float(gaps.mean()))
        return worse < (0.1 if regular else 0.5) and (falls_off > 2.0 or not regular)

    def _told(self, record: Record, stream: Stream, which: Array, spikes: list[Spike], recurs: bool) -> Finding:
        rows = stream.rows[which]
        worst = max(spikes, key=lambda s: s.peak)
        steps = [int(rows[s.at]) for s in spikes]
        more = f", and the next {worst.worse} steps were worse than those before" if worst.worse else ""
        if len(steps) > 1:
            listed = ", ".join(map(str, steps[:6])) + (f" and {len(steps) - 6} more" if len(steps) > 6 else "")
            more += f"; so it did at steps {listed}" if worst.worse else f", and as far at steps {listed}"
        evidence = {"before": worst.before, "peak": worst.peak, "worse": worst.worse, "spikes": steps[:20]}
        end = int(rows[min(spikes[-1].at + spikes[-1].worse, len(rows) - 1)])
        severity = "warning" if recurs else None
        return self._finding(record, stream, int(rows[worst.at]), (steps[0], end), evidence, more, severity)

    def _alone(self, record: Record, stream: Stream, course: int) -> Iterator[Finding]:
        """Losses without a trace behind them, but far beyond the tail of all others: by the blocks' largest."""
        blocks = stream.courses[course].whole
        if len(blocks) < 32 or (blocks["count"] == 0).any():
            return
        order = np.argsort(-blocks["high"])[:25]
        highest = blocks["high"][order]
        if highest[0] < self.times * highest[1]:  # but for several alike
            several = np.flatnonzero(highest[:8] > self.times * highest[1:9])
            if not len(several):
                return
            last = int(several[0])
        else:
            last = 0
        tail = np.log(np.maximum(highest[last + 1 : last + 17], 1e-300))
        mean = max(0.02, float(tail[:-1].mean() - tail[-1]))
        alone = float(np.log(highest[last] / max(highest[last + 1], 1e-300)))
        top = order[: last + 1]
        if alone < self.spacing * mean or top.min() < len(blocks) // 8 or top.max() >= len(blocks) - 2:
            return
        at = int(order[0])
        rows = np.flatnonzero((stream.rows >= blocks["row"][at]) & (stream.rows <= blocks["newest"][at]))
        if not len(rows):
            return
        here = int(rows[np.nanargmax(np.where(np.isfinite(stream.loss[rows]), stream.loss[rows], -np.inf))])
        exact = stream.loss[here] == highest[0]
        step = int(stream.rows[here])
        evidence = {"before": median(blocks["mean"]), "peak": float(highest[0]), "spikes": [step]}
        more = "" if exact else " or near it"
        more += ", far beyond all others, and left no trace" + (f"; {last} others did" if last else "")
        yield self._finding(record, stream, step, (step, step), evidence, more, None)

    def _finding(
        self,
        record: Record,
        stream: Stream,
        step: int,
        steps: tuple[int, int],
        evidence: dict[str, object],
        more: str,
        severity: str | None,
    ) -> Finding:
        optimizer = stream.optimizers[0]
        text = f"look at the batch of step {step}: its inputs, its targets, their scale"
        return self.finding(
            steps,
            severity=severity,
            evidence={**evidence, "at": step, "more": more},
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="this loss",
            advice=(Advice(text), Advice("where nothing is wrong with it, clip the gradient norm")),
        )
