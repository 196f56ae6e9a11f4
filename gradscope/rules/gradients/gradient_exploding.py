"""GS402 gradient-exploding."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import Point
from gradscope.findings import Advice, Finding, list_names, show
from gradscope.record.record import Array, OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.hopeless import Hopeless, total
from gradscope.rules.judged import judged, skipped
from gradscope.rules.jumps import Jumps
from gradscope.rules.middle import median
from gradscope.rules.norms import Norms, clip_at, clips, norms, tidy
from gradscope.rules.steps import Steps, steps_of

_NAMED = 5
_SMALLER = (
    "make them smaller at their source: a smaller initialisation (torch's own; orthogonal recurrent weights), "
    "normalisation between the layers, a mean instead of a sum in the loss"
)


@dataclass(frozen=True)
class Explosion:
    """At measured row number `at` (an index) the norm left the `scale` that it had before, and the loss its `level`.

    `how`: "jumped", from one row to the next; "grew", by and by; "was", from the start: then `scale` is the weights'.
    """

    at: int
    scale: float
    norm: float
    level: float
    loss: float
    how: str


@dataclass(frozen=True)
class GradientExploding(Jumps, Hopeless, Rule):
    """The gradient norm leaves the run's own scale, a step uses it, and what was learned is lost.

    What it finds
        A jump: a gradient `times` times the largest of the rows measured before it (`sigmas` of their logarithms), a
        step with it that changes some weights by a `thrown`-th of themselves and `times` times more than the median
        step (`usual` at most), and a loss that stays worse than before for `rows` rows. Or growth: norms `grown` times
        those of the start in several rows, and a loss above its start. Or a gradient of one of the `first_steps` steps,
        `of_weights` times as large as the weights, a step with it that is `step_of_weights` times as large, and a loss
        that is no number, or `exploded` times the first one, `within` so many rows: no learning rate in use would do.
        An error where the loss is no number any more.
    Why it matters
        One such step undoes thousands of others: a single bad batch, a long sequence through a recurrent network, a
        deep network without normalisation.
    Sick
        loss.backward()
        optimizer.step()  # one gradient in ten thousand is a thousand times larger
    Healed
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)  # nine in ten norms are below it
        optimizer.step()
    What to do
        Clip the norm at the value that is named, the 90 % quantile of the norms before. Look at the batch of that step.
    Silent on
        Jumps that leave no harm, and those that clipping cuts (the norm that the step used counts); norms that grow
        while the loss falls, or with a warm-up; heavy tails; new tasks, which no single step throws off; losses that
        may rise (adversarial, reinforcement learning).
    Known at
        `rows` rows after the jump. On rows that are not measured only a loss that stands out at once is seen (then its
        row is measured, where the loss is on the CPU). Thresholds: {thresholds}.
    References
        Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013 (cliffs, and
        clipping at a value from the average norm).
    """

    code = "GS402"
    name = "gradient-exploding"
    severity = "warning"
    needs = ("norms",)
    message = (
        "the gradient norm {how} at step {at}, most of it in {where}, and the loss went from "
        "{level} to {loss}"
    )
    explains = ("GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS401", "GS404", "GS501", "GS502", "GS703")

    rows: int = 16
    level_rows: int = 32
    worse_by: float = 1.25
    grown: float = 100.0
    start_rows: int = 4
    step_share: float = 1e-3  # of the weights, to clip at

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            for optimizer in stream.optimizers:
                measured = norms(optimizer)
                found = self._start(steps_of(record, stream, optimizer), measured)
                found = found or self._jump(stream, optimizer, measured) or self._growth(stream, measured)
                if found is not None:
                    yield self._finding(record, stream, optimizer, measured, found)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the loss is back at its level."""
        stream = record.stream(finding.stream)
        if stream is None or stream not in judged(record):
            return stream is not None
        newest = stream.loss[-self.rows :]
        return bool(median(newest) <= self.worse_by * float(finding.evidence["level"]))

    def _start(self, steps: Steps, measured: Norms) -> Explosion | None:
        stream, optimizer, at = steps.stream, steps.optimizer, self.hopeless(steps, measured)
        if at is None:
            return None
        level = float(stream.loss[int(np.searchsorted(stream.rows, measured.rows[at]))])
        scale, norm = float(total(optimizer, "weight_norm")[at]), float(measured.used[at])
        return Explosion(at, scale, norm, level, float(stream.loss[-1]), "was")

    # -- a jump -----------------------------------------------------------------------------------------------------

    def _jump(self, stream: Stream, optimizer: OptimizerRecord, measured: Norms) -> Explosion | None:
        for at in self.jumps(optimizer, measured):
            levels = self._harm(stream, int(measured.rows[at]))
            if levels is not None:
                earlier = measured.used[max(0, at - 64) : at]
                return Explosion(at, float(np.nanmedian(earlier)), float(measured.used[at]), *levels, "jumped")
        return None

    def _harm(self, stream: Stream, row: int) -> tuple[float, float] | None:
        """The level of the loss before the row and now, where it has been worse ever since."""
        courses = stream.optimizers[0].scalars["course"]
        at = int(np.searchsorted(stream.rows, row))
        if at >= len(courses):
            return None
        mine = courses == courses[at]
        before, after = stream.loss[:at][mine[:at]][-self.level_rows :], stream.loss[at + 1 :][mine[at + 1 :]]
        before = before[np.isfinite(before)]
        if len(before) < self.before or len(after) < 3:
            return None
        level = median(before)
        if not np.isfinite(after[-3:]).any():
            return level, float(after[-1])
        worst = max(self.worse_by * level, float(np.quantile(before, 0.95)))
        if len(after) < self.rows or level <= 0:
            return None
        first, newest = float(np.nanmedian(after[: self.rows])), float(np.nanmedian(after[-self.rows :]))
        return (level, newest) if min(first, newest) > worst else None

    # -- growth -----------------------------------------------------------------------------------------------------

    def _growth(self, stream: Stream, measured: Norms) -> Explosion | None:
        used, known = measured.used, stream.loss[np.isfinite(stream.loss)]
        if len(used) < 2 * self.start_rows or len(known) < 2 * self.start_rows:
            return None
        start = used[: self.start_rows]
        scale = median(start[start > 0]) if (start > 0).any() else 0.0
        beyond = ~(used <= self.grown * scale)  # what is not finite, too
        if not scale > 0 or not beyond[-3:].all() or not (used > self.grown * scale).any():
            return None
        at = len(used) - int(np.argmin(beyond[::-1]))
        level, now = median(known[: self.start_rows]), float(stream.loss[-1])
        newest = stream.loss[-self.start_rows :]
        if np.isfinite(newest).any() and (not np.nanmedian(newest) > self.worse_by * level or _at_once(known, level)):
            return None
        return Explosion(at, scale, float(np.nanmax(used[at:], initial=0.0)), level, now, "grew")

    # -- what is told -----------------------------------------------------------------------------------------------

    def _finding(
        self, record: Record, stream: Stream, optimizer: OptimizerRecord, measured: Norms, found: Explosion
    ) -> Finding:
        row = int(measured.rows[found.at])
        names = _where(optimizer, found.at)
        earlier = measured.used[: found.at]
        earlier = earlier[earlier > 0]
        why = "nine in ten of the norms before were below it"
        if found.how == "was":
            lr = float(optimizer.lr[np.searchsorted(optimizer.rows, row)].max())
            high, why = tidy(self.step_share * found.scale / lr), f"steps of {100 * self.step_share:g} % of the weights"
        else:
            high = tidy(float(np.quantile(earlier, 0.9))) if len(earlier) else tidy(found.scale)
        mine = (f for f in clips(record) if f.optimizer == optimizer.number and f.kind == "norm" and f.acted)
        limit = next((f.limit for f in mine if f.limit < math.inf), None)
        advice = [clip_at(optimizer, high, why, limit)]
        if found.how == "was":
            advice.append(Advice(_SMALLER))
        site = int(optimizer.scalars["backward_site"][np.searchsorted(optimizer.rows, row)])
        return self.finding(
            (row, int(stream.rows[-1])),
            severity="warning" if np.isfinite(stream.loss[-3:]).any() else "error",
            evidence={
                "how": _how(found),
                "scale": found.scale,
                "norm": found.norm,
                "at": row,
                "where": list_names(names),
                "level": found.level,
                "loss": found.loss,
                "times": found.norm / found.scale,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=names,
            where=record.site(site),
            label="these gradients",
            advice=tuple(advice),
        )


def _how(found: Explosion) -> str:
    if found.how == "was":
        return f"was {show(found.norm)}, {show(found.norm / found.scale)} times that of the weights,"
    return f"{found.how} from {show(found.scale)} to {show(found.norm)}"


def _at_once(losses: Array, level: float) -> bool:
    """Whether one row did most of what the losses have risen by since `level`: other data, a new task."""
    known = np.log(np.maximum(losses, 1e-3 * level))
    return bool(np.diff(known).max(initial=0.0) > 0.5 * (known[-1] - math.log(level)))


def _where(optimizer: OptimizerRecord, at: int) -> tuple[str, ...]:
    """The parameters that make up most of the norm, the largest first."""
    norm: Array = np.nan_to_num(optimizer.grad_norm(Point.BEFORE_STEP)[at])
    order = np.argsort(-norm)
    share = np.cumsum(np.square(norm[order], dtype=np.float64))
    enough = int(np.searchsorted(share, 0.9 * share[-1])) + 1 if len(share) else 0
    return tuple(optimizer.parameters[i].name for i in order[: min(enough, _NAMED)])
