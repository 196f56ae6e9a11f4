"""GS105 missing-step."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.loop import MissingStep as MissingStepFact
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class MissingStep(Rule):
    """optimizer.step() is never called, or no longer.

    What it finds
        A torch optimizer owns parameters that backward reaches and whose values never change: after 100 backwards
        without a step and more than 4 times the longest gap seen so far, or at the end of the run.
    Why it matters
        Gradients are made and thrown away: the loss only jitters. Often it is `optimizer.step` without parentheses.
    Sick
        loss.backward()
        optimizer.step
    Healed
        loss.backward()
        optimizer.step()
    What to do
        Call `optimizer.step()`, with its parentheses, after `backward()`.
    Silent on
        Long accumulations that do step; steps that GradScaler skips; loops that update by hand; loops without an
        optimizer; an optimizer that nobody manages while another one trains; a try of a few backwards;
        a model in eval mode (saliency, attacks); a later phase with a backward of its own (Fisher information).
    Known at
        100 backwards, or the end of the run. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/optim.html
    """

    code = "GS105"
    name = "missing-step"
    severity = "error"
    message = "{backwards} backwards reached the parameters of optimizer {which}, and it {did}: they have not changed"
    needs = ("MissingStepProbe",)
    explains = ("GS101", "GS106", "GS204", "GS302")

    backwards: int = 100
    at_the_end: int = 5

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in newest_of(record.facts.of(MissingStepFact)):
            managed = not fact.bystander or fact.clears * 2 >= fact.backwards
            enough = fact.backwards >= self.backwards or (fact.ended and fact.backwards >= self.at_the_end)
            if fact.moved or fact.evaluating or not managed or not enough:
                continue
            never = fact.steps == 0
            yield self.finding(
                (0 if never else fact.row, record.meta.rows),
                evidence={
                    "backwards": fact.backwards,
                    "which": fact.optimizer,
                    "did": "never stepped" if never else "has not stepped since",
                    "longest_gap": fact.longest_gap,
                },
                stream=record.stream_of(fact.optimizer),
                optimizer=fact.optimizer,
                where=fact.site,
                advice=(_advice(fact),),
            )


def _advice(fact: MissingStepFact) -> Advice:
    values = {"optimizer": fact.optimizer, "file": fact.site.file, "line": fact.site.line}
    return Advice(f"call optimizer.step() after line {fact.site.line} (mind the parentheses)", "insert-step", values)
