"""GS401 gradient-not-finite."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import GradState, Point
from gradscope.facts.not_finite import GradientOrigin
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.origins import gradient_origins, grew, help_for, known_losses, place


@dataclass(frozen=True)
class _Seen:
    """Gradients that were not finite at a row whose loss was."""

    row: int
    parameters: tuple[str, ...]
    count: int
    of: int
    fact: GradientOrigin | None = None


@dataclass(frozen=True)
class GradientNotFinite(Rule):
    """Gradients are NaN or infinite though the loss is a number.

    What it finds
        A step that used gradients with NaN or Inf while its loss was finite, and after which the loss, or a weight, was
        no number any more. It names the parameters; and the operations that only they stand before and whose derivative
        can be infinite: the derivative of sqrt at 0, of a power below 1 at 0, of what a torch.where hides (0 * inf).
    Why it matters
        The loss still looks healthy in this step; from the next one on all is NaN, and the search begins in the wrong
        place.
    Sick
        distance = (a - b).pow(2).sum(1).sqrt()  # where a == b: sqrt(0), whose derivative is infinite
    Healed
        distance = ((a - b).pow(2).sum(1) + 1e-8).sqrt()
    What to do
        Keep the argument of the named operation away from the point where its derivative is infinite. Behind a
        torch.where, put a harmless value in before the operation: the where does not stop the NaN.
        `gradscope run --replay` runs the step again and names the one operation and its line.
    Silent on
        Steps that GradScaler skips, or that the loop leaves out; a loss that grew without bound before (GS202, GS301).
        Info, at the end, where the losses since were numbers again.
    Known at
        The next loss that is no number, or the end of the run. The operation is named on the CPU only. Where the step
        was not measured (see --every) the parameters tell at the next loss. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/autograd.html (gradients of non-differentiable functions);
        https://github.com/pytorch/pytorch/issues/4132 (torch.where and NaN gradients).
    """

    code = "GS401"
    name = "gradient-not-finite"
    severity = "error"
    message = "the gradients of {which} were not finite at step {first}, though the loss was {loss}{origin}"
    explains = ("GS201", "GS203", "GS204", "GS205", "GS206", "GS402", "GS405", "GS703")

    in_a_row_again: int = 16  # losses that are no numbers, where an earlier step was spared

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in record.streams:
            judged = (self._judge(record, stream, seen) for seen in self._seen(record, stream))
            found = [finding for finding in judged if finding is not None]
            enough = [f for f in found if (stream.rows > f.steps[0]).sum() >= self.in_a_row_again]
            spared = bool(found) and found[0].severity != "error"
            yield from spared and [f for f in enough if f.severity == "error"][:1] or found[:1]

    def _seen(self, record: Record, stream: Stream) -> list[_Seen]:
        """By the probe, and by the norms that were measured; oldest first, the probe's word first."""
        rows = stream.rows
        found = []
        for fact in gradient_origins(record, stream):
            row = fact.row
            if fact.late:
                earlier = rows[rows < fact.row]
                if not len(earlier):
                    continue
                row = int(earlier[-1])
            found.append(_Seen(row, fact.parameters, fact.count, fact.of, fact))
        for optimizer in stream.optimizers:
            norm, state = optimizer.grad_norm(Point.BEFORE_STEP), optimizer.grad_state(Point.BEFORE_STEP)
            broken = np.isnan(norm) & (state > GradState.ZERO)
            hit = np.flatnonzero(broken.any(axis=1))
            if len(hit):
                which = broken[hit[0]]
                names = optimizer.names(which)
                found.append(_Seen(int(optimizer.measured[hit[0]]), names, int(which.sum()), len(which)))
        return sorted(found, key=lambda seen: (seen.row, seen.fact is None))

    def _judge(self, record: Record, stream: Stream, seen: _Seen) -> Finding | None:
        at = int(np.searchsorted(stream.rows, seen.row))
        known = known_losses(stream)
        if at >= len(stream.rows) or stream.rows[at] != seen.row or not known[at] or not np.isfinite(stream.loss[at]):
            return None
        before = stream.loss[: at + 1]
        if grew(before[np.isfinite(before)]):
            return None
        later = stream.loss[at + 1 :][known[at + 1 :]]
        spared = np.isfinite(later).any() and not _weights_are_broken(stream, seen.row)
        if (spared or not len(later)) and not record.meta.ended:
            return None
        optimizer = stream.optimizers[0]
        fact = seen.fact
        return self.finding(
            (seen.row, seen.row),
            severity="info" if spared else "error",
            evidence={
                "which": _which(seen),
                "first": seen.row,
                "loss": float(stream.loss[at]),
                "origin": _origin(fact),
                "count": seen.count,
                **({} if fact is None else {"operations": fact.operations, "late": fact.late}),
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=seen.parameters,
            where=record.site(int(optimizer.scalars["backward_site"][at])),
            label="gradients that are no numbers, of a loss that is one",
            advice=(Advice(_advice(fact)),),
        )


def _weights_are_broken(stream: Stream, row: int) -> bool:
    for optimizer in stream.optimizers:
        weights = optimizer.arrays["weight_norm"][optimizer.measured > row]
        if len(weights) and np.isnan(weights[-1]).any() and np.isfinite(weights[-1]).any():
            return True
    return False


def _which(seen: _Seen) -> str:
    if seen.count == seen.of and seen.of > 1:
        return f"all {seen.of} parameters"
    names = list_names(seen.parameters)
    return names if seen.count == len(seen.parameters) else f"{seen.count} of {seen.of} parameters ({names})"


def _origin(fact: GradientOrigin | None) -> str:
    if fact is None:
        return ""
    where = place("", fact.before, fact.after)
    if fact.replayed:
        line = "" if fact.site is None else f" (line {fact.site.line})"
        return f". Where it began: {fact.what}{where}{line}"
    if not fact.singular:
        return "" if not fact.after else f". They were lost on the way back through {fact.after}"
    hidden = ", behind a torch.where or a mask" if fact.masked else ""
    if len(fact.singular) == 1 and not hidden:
        return f". Of the operations on the way there, the one that can do so: {fact.singular[0]}{where}"
    return f". Operations on the way there that can do so: {', '.join(fact.singular)}{hidden}{where}"


def _advice(fact: GradientOrigin | None) -> str:
    if fact is not None:
        text = help_for(fact.operations, fact.masked)
        if text:
            return text
    return (
        "look for an operation whose derivative is infinite where the operation itself is not (sqrt or a power at 0, a "
        "branch of torch.where), or run with --replay, which names it"
    )
