"""GS605 input-not-finite."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.not_finite import LossOrigin
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.origins import known_losses, loss_origin, place, with_loss


@dataclass(frozen=True)
class InputNotFinite(Rule):
    """The batch itself holds NaN or Inf.

    What it finds
        A loss that is not finite because a tensor that came without a gradient was so already: the input of a layer,
        the target of the loss. It says which, in how many samples, and in which features where it is in all of them.
        Where the tensor itself is not known, it may have been computed from the batch: the log of a negative target.
        Or gradients that are not finite, of a layer whose input was so, though the loss was one (tanh of Inf is 1).
    Why it matters
        One NaN in a batch makes the loss, the gradients and then every weight NaN. Nothing in the model is wrong.
    Sick
        features = (table - table.mean(0)) / table.std(0)  # a constant column: 0 / 0
    Healed
        features = (table - table.mean(0)) / table.std(0).clamp_min(1e-8)
    What to do
        Check the data once, before training: `torch.isfinite(features).all()`. Repair or drop what is broken: a
        standard deviation of 0, a logarithm of 0, missing values in the file.
    Silent on
        Masks of -inf; NaN that the loop masks out before the loss; losses that were finite, as were the gradients; as
        info where later losses were numbers again (the weights were spared).
    Known at
        Three rows of such losses, or the end of the run. On the CPU: on an accelerator the loss is read too late. By
        gradients only in the rows that are looked at closely. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/generated/torch.isfinite.html
    """

    code = "GS605"
    name = "input-not-finite"
    severity = "error"
    message = "{what} of step {first} is not finite: {which}{how}{where}, and {value}"
    explains = ("GS201", "GS203", "GS204", "GS205", "GS206", "GS401", "GS703")

    in_a_row: int = 3
    in_a_row_again: int = 16  # where the weights were spared before

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in record.streams:
            known = known_losses(stream)
            bad = known & ~np.isfinite(stream.loss)
            batches = []
            early = {f.row for f in newest_of(record.facts.of(LossOrigin)) if f.of_gradient}
            for at in map(int, np.flatnonzero(bad | np.isin(stream.rows, list(early)) if early else bad)):
                fact = loss_origin(record, stream, int(stream.rows[at]))
                if fact is None or fact.kind != "constant" or fact.role == "statistics":
                    continue
                first = at + (not bad[at])
                if fact.of_gradient != bool(bad[at]):
                    batches.append((at, fact, bool(bad[first:][known[first:]].all())))
            again = [batch for batch in batches if batch[2] and len(bad) - batch[0] >= self.in_a_row_again]
            spared = bool(batches) and not batches[0][2]
            for at, fact, lasts in (spared and again or batches)[:1]:
                if record.meta.ended or lasts and len(bad) - at - (not bad[at]) >= self.in_a_row:
                    yield self._finding(record, stream, fact, at, lasts)

    def _finding(self, record: Record, stream: Stream, fact: LossOrigin, at: int, lasts: bool) -> Finding:
        optimizer = with_loss(stream, at)
        variable = f" `{fact.variable}`" if fact.variable else ""
        of = f" of {fact.operations[0]}"
        which = {"input": f"the input{variable}{of}", "target": f"the target{variable}{of}"}.get(
            fact.role, f"what{variable or ' has no gradient'} goes into {fact.operations[0]}"
        )
        if not _given(fact):
            which = f"what goes into {fact.operations[0]} and has no gradient"
        return self.finding(
            (int(stream.rows[at]), int(stream.rows[-1])),
            severity="error" if lasts else "info",
            evidence={
                "what": "the batch" if _given(fact) else "a tensor",
                "first": fact.row,
                "which": which,
                "how": f" ({_how(fact)})" if fact.broken else "",
                "where": place(fact.inside, fact.before, fact.after),
                "value": _value(fact, float(stream.loss[at])),
                "role": fact.role,
                "samples": fact.samples,
                "batch": fact.batch,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["backward_site"][at])),
            label="gradients that are no numbers" if fact.of_gradient else "this loss is no number",
            advice=(Advice(_advice(fact)),),
        )


def _given(fact: LossOrigin) -> bool:
    """Whether it is known which tensor is broken; else it may have been computed, of a batch that is fine."""
    return bool(fact.variable or fact.broken)


def _value(fact: LossOrigin, loss: float) -> str:
    if fact.of_gradient:
        return f"its gradients are no numbers, though the loss was {loss:.4g}"
    return f"the loss was {loss}"


def _how(fact: LossOrigin) -> str:
    if not fact.batch:
        return fact.broken
    samples = f"{fact.broken}, in {fact.samples} of {fact.batch} samples"
    if fact.features and fact.samples == fact.batch:
        many = "feature" if len(fact.features) == 1 else "features"
        return f"{samples}: {many} {', '.join(map(str, fact.features[:8]))}{' ...' if len(fact.features) > 8 else ''}"
    return samples


def _advice(fact: LossOrigin) -> str:
    if not _given(fact):
        return (
            f"look at what makes the operand of {fact.operations[0]} that has no gradient: a logarithm or a root of a "
            "number below 0, a division by 0; or the data themselves: `torch.isfinite(batch).all()`"
        )
    if fact.batch > 1 and fact.samples == fact.batch:
        return (
            "it is so in every sample: look at how the data is prepared (a division by a standard deviation of 0, a "
            "logarithm of 0), or at what computes it under no_grad"
        )
    return "repair or drop such samples before training: `keep = torch.isfinite(x).flatten(1).all(1)`"
