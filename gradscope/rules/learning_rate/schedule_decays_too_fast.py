"""GS303 schedule-decays-too-fast."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.learning_rate import Hyperparameters, Schedule
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record, Stream
from gradscope.rules.advice import peaks
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.way import Along, loss_along, rates, way_to_nothing

_BY_ITSELF = ("ReduceLROnPlateau", "OneCycleLR")  # it decides by the metric; it knows the length of the run


@dataclass(frozen=True)
class ScheduleDecaysTooFast(Rule):
    """The schedule has brought the learning rate to nothing while there was still much to learn.

    What it finds
        A learning rate that has come down to `small` of its peak and stayed there for at least as long as it took,
        although the loss was falling until then: where half of the way was left (the way is the sum of the learning
        rates), `falling` of the loss's fall was to come. Where the scheduler is stepped at each optimizer step, and has
        been done for `long` times the rows it took, it is enough that the loss had not converged by then. Also: a
        scheduler that holds lr at exactly 0 from the first row on, or takes it below 0; and, as info, a
        CosineAnnealingLR that goes down and up again and again: its T_max is meant in epochs and counted in steps.
    Why it matters
        The run goes on, and the model stays what it was: hours that change nothing. The usual cause is a scheduler with
        settings in epochs (step_size=30) that is stepped once per batch.
    Sick
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)  # epochs
        for epoch in range(90):
            for batch in loader:
                train(batch)
                scheduler.step()
    Healed
        for epoch in range(90):
            for batch in loader:
                train(batch)
            scheduler.step()
    What to do
        Step the scheduler once per epoch, or give its settings in steps. A warm-up: divide with `/`, not `//`.
    Silent on
        Schedules that end at 0 with the run (cosine, linear, one cycle); warm restarts; ReduceLROnPlateau, which
        decides by itself; a decay that came after the loss had stopped falling; a small learning rate from the start;
        losses that may rise; a first row, or a first epoch, at lr 0.
    Known at
        `min_rows` rows after the learning rate has come to nothing, and not before as many as it took. Thresholds:
        {thresholds}.
    References
        https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate. Thresholds: a loss that falls
        exponentially along the way is within 2 % of its end where the second half has 12 % of the fall, within 14 %
        where it has 27 %; measured on schedules of all kinds.
    """

    code = "GS303"
    name = "schedule-decays-too-fast"
    severity = "warning"
    message = "{scheduler} {what}: {why}"
    needs = ("ScheduleProbe",)
    explains = ("GS202", "GS203", "GS204", "GS301", "GS302")

    min_rows: int = 100  # at a learning rate of nothing
    left: float = 0.01  # of the way
    small: float = 0.003  # of its peak: what the learning rate must have come to,
    little: float = 0.02  # or this, where the milestones of a MultiStepLR are epochs
    falling: float = 0.25
    converged: float = 0.15
    long: float = 3.0  # times the rows that it took
    long_at_the_end: float = 2.0
    very_long: float = 20.0
    epoch_like: int = 500  # rows in which a schedule stepped per batch is done
    by_hand: int = 300  # the same without any scheduler
    much: float = 0.3
    z: float = 4.0
    cycles: int = 10  # before T_max is held to be counted in epochs
    negative: int = 3  # rows

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in record.streams:
            first = stream.optimizers[0]
            if not first.lr.size:
                continue
            facts = [f for f in newest_of(record.facts.of(Schedule)) if f.optimizer == first.number]
            fact = max(facts, key=lambda f: (f.scheduler in _BY_ITSELF, f.calls), default=None)
            if not first.lr[: self.min_rows].any():
                yield from self._held_at_zero(record, stream, fact)
            if (np.isfinite(first.lr[-1]) & (first.lr[-1] < 0)).any():
                yield from self._below_zero(record, stream, fact)
            elif self._may_be_nothing(stream) and stream in judged(record):
                yield from self._nothing(record, stream, fact)
            elif fact is not None:
                yield from self._cycles(record, stream, fact)

    def over(self, finding: Finding, record: Record) -> bool:
        """A learning rate of nothing is over when it has grown again, or the loss has gone on falling all the same."""
        stream = record.stream(finding.stream)
        rate = None if stream is None or finding.evidence["kind"] != "nothing" else rates(stream)
        if stream is None or rate is None or not len(rate):
            return True
        newest, level = stream.loss[-max(self.min_rows, len(rate) // 4) :], float(finding.evidence["level"])
        return bool(rate[-1] > 2 * self.little or np.nanmean(newest) < level - 0.1 * abs(level))

    def not_judged(self, record: Record) -> str:
        fallen = any(s.optimizers[0].lr.size and self._may_be_nothing(s) for s in record.streams)
        return skipped(record) if fallen else ""

    # -- a learning rate of nothing ---------------------------------------------------------------------------------

    def _may_be_nothing(self, stream: Stream) -> bool:
        """Cheaply: whether little was added to the way since the middle of the run."""
        for course in stream.courses.values():
            way = course["lr"] * course["rows"]
            half = np.cumsum(course["rows"]) > 0.55 * course["rows"].sum()
            if len(way) >= 8 and not way[half].sum() <= 0.5 * way.sum():
                return False
        lr = stream.optimizers[0].lr
        return len(lr) > self.min_rows // 2 and float(lr[-1].max()) <= 0.1 * float(lr[:4096].max())

    def _nothing(self, record: Record, stream: Stream, fact: Schedule | None) -> Iterator[Finding]:
        each = fact is not None and _each_step(fact)
        milestones = each and fact is not None and fact.scheduler == "MultiStepLR"
        way = way_to_nothing(stream, self.little if milestones else self.small, self.left)
        ended = record.meta.ended
        enough, long = (self.min_rows // 2, self.long_at_the_end) if ended else (self.min_rows, self.long)
        if way is None or way.since < max(enough, way.took) or fact is not None and fact.scheduler in _BY_ITSELF:
            return
        if fact is None and way.took > self.by_hand or each and way.took > self.epoch_like:
            return
        along = loss_along(stream, way, enough)
        verdict = "" if along is None else self._verdict(along)
        if along is None or not verdict or verdict == "converged":
            return
        if not each and along.level < self.much * (along.level + along.fall[0]):
            return  # step by step as somebody planned it, and most is learned
        certain = each and way.nothing and way.since >= long * way.took and verdict == "unknown"
        certain = certain or milestones and way.since >= self.very_long * way.took
        if not certain and not (verdict == "falling" and way.nothing):
            return
        lr, since = stream.optimizers[0].lr, int(stream.rows[way.at])
        what = f"brought lr from {float(lr.max()):.3g} to {float(lr[-1].max()):.3g}"
        why = f"hardly anything was learned after step {since}, where the loss stood at {along.level:.4g}"
        evidence = {"kind": "nothing", "since": since, "level": along.level, "loss": verdict}
        yield self._finding(record, stream, fact, (since, int(stream.rows[-1])), (what, why, _cure(fact)), evidence)

    def _verdict(self, along: Along) -> str:
        """Whether the loss was "falling" when the way ended, had "converged", falls "still", or is "unknown"."""
        (fall, fall_error), (above, above_error), (drop, drop_error) = along.fall, along.above, along.drop
        later, later_error = along.later
        if later > max(self.z * later_error, 0.1 * fall):
            return "still"
        if np.isnan(above) or fall < self.z * fall_error:
            return "unknown"
        if above <= self.converged * fall:
            return "converged"
        falls = above > max(self.falling * fall, self.z * above_error)
        return "falling" if falls and drop > max(0.08 * fall, self.z * drop_error) else "unknown"

    # -- certain cases ----------------------------------------------------------------------------------------------

    def _held_at_zero(self, record: Record, stream: Stream, fact: Schedule | None) -> Iterator[Finding]:
        together = [o.lr.any(axis=1) for o in stream.optimizers if len(o.rows) == len(stream.rows)]
        moving = np.asarray(np.any(together, axis=0))
        rows = int(np.argmax(moving)) if moving.any() else len(moving)
        each = fact is not None and _each_step(fact) and fact.calls >= self.min_rows // 2
        never = record.meta.ended and rows == len(moving) >= 20 and _scheduled(record, stream.optimizers[0])
        if not (each and rows >= self.min_rows or never):
            return
        if fact is None:
            cure = f"call scheduler.step() after {stream.optimizers[0].variable}.step(): the schedule begins at lr 0"
        elif each:
            cure = "let the schedule begin above 0; a function that divides with // gives 0 for long: divide with /"
        else:
            cure = f"let the schedule begin above 0: {fact.variable}.step() is called too seldom to leave it"
        what = f"held lr at 0 for the first {rows} steps" if moving.any() else f"has held lr at 0 for {rows} steps"
        words = (what, "steps of length 0 change nothing", cure)
        steps = int(stream.rows[0]), int(stream.rows[rows - 1])
        yield self._finding(record, stream, fact, steps, words, {"kind": "zero", "rows": rows})

    def _below_zero(self, record: Record, stream: Stream, fact: Schedule | None) -> Iterator[Finding]:
        lr = stream.optimizers[0].lr
        below = np.asarray(((lr < 0) & np.isfinite(lr)).any(axis=1))
        since = len(below) - int(np.argmin(below[::-1]))
        if below.all() or len(below) - since < self.negative:
            return
        row = int(stream.rows[since])
        cure = "end the schedule at 0, with max(0, ...)" + ("" if fact is None else f"; {_cure(fact)}")
        words = (f"took lr below 0 at step {row}", "each step now makes the loss larger", cure)
        evidence = {"kind": "negative", "since": row}
        yield self._finding(record, stream, fact, (row, int(stream.rows[-1])), words, evidence)

    def _cycles(self, record: Record, stream: Stream, fact: Schedule) -> Iterator[Finding]:
        length = fact.settings.get("T_max", 0)
        if fact.scheduler != "CosineAnnealingLR" or not _each_step(fact) or length < 2:
            return
        times = int(fact.calls // (2 * length))
        if times < self.cycles:
            return
        why = f"its T_max={length} counts calls of {fact.variable}.step(), and that is called at each step"
        steps = int(stream.rows[0]), int(stream.rows[-1])
        words = (f"has taken lr down and up again {times} times", why, _cure(fact))
        yield self._finding(record, stream, fact, steps, words, {"kind": "cycles", "times": times}, severity="info")

    def _finding(
        self,
        record: Record,
        stream: Stream,
        fact: Schedule | None,
        steps: tuple[int, int],
        words: tuple[str, str, str],
        evidence: dict[str, object],
        severity: str | None = None,
    ) -> Finding:
        optimizer = stream.optimizers[0]
        name, called, made = ("the schedule", 0, 0) if fact is None else (_name(fact), fact.calls, fact.steps)
        told = {"scheduler": name, "what": words[0], "why": words[1], "calls": called, "optimizer_steps": made}
        return self.finding(
            steps,
            severity=severity,
            evidence={**told, **evidence},
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["step_site"][-1])) if fact is None else fact.site,
            label="" if fact is None else "called at each step" if _each_step(fact) else "this schedule",
            advice=(_advice(record, optimizer, words[2]),),
        )


def _advice(record: Record, optimizer: OptimizerRecord, cure: str) -> Advice:
    """The peak held to the end stands for the schedule as it was meant, of which too little is known."""
    peak = max(peaks(record, optimizer), default=0.0)
    held = optimizer.lr.shape[1] == 1 and 0 < peak < np.inf
    return Advice(cure, "hold-lr", {"optimizer": optimizer.number, "to": peak}) if held else Advice(cure)


def _each_step(fact: Schedule) -> bool:
    """Whether the scheduler is stepped once per step of the optimizer, by a count of its own."""
    return fact.calls >= 8 and not fact.explicit and fact.steps <= 1.5 * fact.calls


def _scheduled(record: Record, optimizer: OptimizerRecord) -> bool:
    """Whether a scheduler has taken over the optimizer (it writes `initial_lr` into its groups)."""
    facts = (f for f in newest_of(record.facts.of(Hyperparameters)) if f.optimizer == optimizer.number)
    return any(f.values.get("initial_lr", 0) > 0 for f in facts)


def _name(fact: Schedule | None) -> str:
    if fact is None:
        return "the schedule"
    settings = (f"{name}={value}" for name, value in fact.settings.items() if name in _COUNTED)
    return f"{fact.scheduler}({', '.join(settings)})"


_COUNTED = ("step_size", "gamma", "milestones", "T_max", "total_iters", "end_factor")


def _cure(fact: Schedule | None) -> str:
    if fact is None:
        return "let the learning rate fall more slowly: to its end only when the run ends"
    if not _each_step(fact):
        return f"let {fact.scheduler} decay more slowly, or end the run sooner: nothing more is learned"
    name = next((n for n in ("step_size", "milestones", "T_max", "total_iters", "gamma") if n in fact.settings), "")
    meant = {"": "what its function is given", "gamma": f"gamma={fact.settings.get('gamma')}"}
    counts = meant.get(name, f"{name}={fact.settings.get(name)}")
    line = f"line {fact.site.line}"
    return (
        f"call {fact.variable}.step() ({line}) once per epoch, behind the loop over the batches; "
        f"or, stepped per batch, let {counts} count batches: times the batches of an epoch"
    )
