"""A code for what is not known, as a number among a table's own, and what the run has made of it."""
from __future__ import annotations

from dataclasses import dataclass

from gradscope.facts.fact import newest_of
from gradscope.facts.inputs import InputCode
from gradscope.facts.labels import LabelFit
from gradscope.record.record import Record, Stream
from gradscope.rules.standing import standing


@dataclass(frozen=True)
class Coded:
    """`left` is the share of what it is worth to know nothing that the loss still costs."""

    fact: InputCode
    left: float


def coded(record: Record, stream: Stream, large: float) -> Coded | None:
    """The value that is farthest, `large` times the size of all that is none or more; None where there is none."""
    numbers = {optimizer.number for optimizer in stream.optimizers}
    facts = [fact for fact in newest_of(record.facts.of(InputCode)) if fact.optimizer in numbers]
    facts = [fact for fact in facts if abs(fact.value) >= large * max(fact.size, 1.0)]
    if not facts:
        return None
    worst = max(facts, key=lambda fact: abs(fact.value) / max(fact.size, 1.0))
    fits = [fit for fit in newest_of(record.facts.of(LabelFit)) if fit.optimizer in numbers and fit.late_blind > 0]
    if len(fits) == 1:
        return Coded(worst, 1 - fits[0].late_gain / fits[0].late_blind)
    stands = standing(record, stream)
    return None if stands is None else Coded(worst, stands.share)


def told(fact: InputCode) -> str:
    share = f"{100 * fact.times / fact.samples:.2g} %"
    others = f"{fact.least:.3g} to {fact.most:.3g} in the others"
    return f"column {fact.column} is {fact.value:g} in {share} of the rows, and {others}"


def advice(fact: InputCode) -> tuple[str, str]:
    """What to do with the code; and where it is what was measured."""
    values = f"x[:, {fact.column}]"
    return (
        f"{fact.value:g} stands for what is not known: put the column's median there, and give the model a column of 0 "
        f"and 1 beside it; missing = {values} == {fact.value:g}; {values} = torch.where(missing, median, {values})",
        "if it is a real one, bound the column or take its logarithm, then normalise it",
    )
