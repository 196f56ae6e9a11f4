"""GS201 loss-not-finite."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.not_finite import LossOrigin
from gradscope.findings import Advice, Finding, show
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.origins import began, grew, help_for, known_losses, loss_origin, module, with_loss


@dataclass(frozen=True)
class LossNotFinite(Rule):
    """A loss is NaN or infinite, and a step used its gradients.

    What it finds
        A loss that is NaN or infinite, whose gradients reached a step of the optimizer, and no loss since was a number.
        Where later ones are numbers again the weights were spared (the mean over an empty selection): info, at the end.
        Where it began: the first operation whose inputs were finite and whose result was not (log, sqrt, division, exp,
        softmax ...), what was special in its input, and which layers it stands between; or the parameters, or the
        batch, that were no numbers before. Read from what the loss's graph has saved; where an operation on the way has
        kept nothing, the few that come into question are named.
    Why it matters
        The gradients of such a loss are NaN, and so is every weight they touch: from there on nothing is learned, and
        a checkpoint saved later is worthless.
    Sick
        loss = torch.log(probabilities).mean()  # a probability of 0
        loss.backward()
        optimizer.step()
    Healed
        loss = torch.log(probabilities.clamp_min(1e-8)).mean()
        loss.backward()
        optimizer.step()
    What to do
        Keep the argument of the named operation away from what it cannot take; if the loss grew beyond all bounds
        before, lower the learning rate. Go back to a checkpoint from before the named step. Where no operation is
        named (activation checkpointing, tensors changed in place, accelerators): `gradscope run --replay` runs the step
        once more and names it, with its line.
    Silent on
        Steps that GradScaler skips; backwards whose gradients were cleared, or that no step followed; losses that are
        not scalars.
    Known at
        Three rows (`in_a_row_again` where earlier ones were spared), or the end of the run; on rows that are not
        measured up to 16 later. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/numerical_accuracy.html
    """

    code = "GS201"
    name = "loss-not-finite"
    severity = "error"
    message = "the loss was {value} at step {first}, {history}{since}{origin}"
    explains = ("GS203", "GS204", "GS205", "GS206", "GS401", "GS703")

    in_a_row: int = 3
    in_a_row_again: int = 16  # where later losses than the first such one were numbers

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in record.streams:
            known = known_losses(stream)
            bad = known & ~np.isfinite(stream.loss)
            if not bad.any():
                continue
            at = self._lasting(bad, np.flatnonzero(known), record.meta.ended)
            if at is not None or record.meta.ended:
                yield self._finding(record, stream, bad, int(np.argmax(bad)) if at is None else at, at is not None)

    def _lasting(self, bad: np.ndarray, known: np.ndarray, ended: bool) -> int | None:
        """Since which index no loss has been a number; None: later ones were, or it is too early to tell.

        Where earlier ones were spared, many in a row may be so, too: more are asked for.
        """
        flags = bad[known]
        if not flags[-1:].any():
            return None
        count = len(flags) if flags.all() else int(np.argmin(flags[::-1]))
        spared = flags[: len(flags) - count]
        most = max(map(len, "".join("x" if flag else " " for flag in spared).split()), default=0)
        least = max(self.in_a_row_again, 2 * most) if most else 1 if ended else self.in_a_row
        return int(known[-count]) if count >= least else None

    def _finding(self, record: Record, stream: Stream, bad: np.ndarray, at: int, lasts: bool) -> Finding:
        optimizer = with_loss(stream, at)
        last = len(bad) - 1 - int(np.argmax(bad[::-1]))
        first, count = int(stream.rows[at]), int(bad.sum())
        before = stream.loss[:at][np.isfinite(stream.loss[:at])]
        healed = last < len(bad) - 1
        since = f"; {count} losses of {len(bad)} were not finite"
        if not healed:
            alone = not bad[at + 1 :].any() or not bad[at:].all()
            since = ", and is no number now" if alone else f", and {len(bad) - at - 1} times in a row since"
        value = float(stream.loss[at])
        origin = loss_origin(record, stream, first)
        where = record.site(int(optimizer.scalars["backward_site"][at]))
        return self.finding(
            (first, int(stream.rows[last])),
            severity="error" if lasts else "info",
            evidence={
                "value": str(value),
                "first": first,
                "history": f"{show(float(before[-1]))} a step before" if len(before) else "the first one",
                "since": since if len(bad) > 1 else "",
                "count": count,
                "origin": began(origin),
                **_details(origin),
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=where,
            label="this loss is no number" if np.isnan(value) else "this loss is infinite",
            advice=(_advice(before, origin),),
        )


def _details(origin: LossOrigin | None) -> dict[str, object]:
    """For machines: the operation (or those it may be) and the modules around."""
    if origin is None or origin.kind not in ("operation", "between"):
        return {}
    names = {"module": origin.inside, "after_module": origin.before, "before_module": origin.after}
    return {"operations": origin.operations, **{key: module(name) for key, name in names.items() if name}}


def _advice(before: np.ndarray, origin: LossOrigin | None) -> Advice:
    if grew(before):
        return Advice("the loss grew without bound before: lower the learning rate, or clip the gradients")
    if origin is not None and origin.kind in ("operation", "between"):
        text = help_for(origin.operations)
        if text:
            return Advice(text)
    if origin is not None and origin.cause in ("lr", "setting"):
        return Advice(f"look at where {origin.detail.split()[0]} is set: a schedule that divides by 0, or overflows")
    return Advice("look for a logarithm, a division, a square root or an exponential of values that can be 0 or huge")
