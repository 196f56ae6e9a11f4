"""GS109 graph-kept-alive."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.loop import GraphAge
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class GraphKeptAlive(Rule):
    """A sum or a list of losses holds on to the graph of every step.

    What it finds
        A variable through which the graphs of all steps since some step hang together (`total += loss`), 20 steps or
        more; or a list or dict that holds more than 256 of them (`losses.append(loss)`); and the line that does it.
    Why it matters
        Each tensor with a gradient keeps the whole graph behind it: memory grows with every step, until the epoch ends
        or the run dies of it, long after the mistake. Freeing a long chain takes its time as well.
    Sick
        running_loss += loss
        outputs.append(output)
    Healed
        running_loss += loss.item()
        outputs.append(output.detach())
    What to do
        Sum numbers, not tensors: `.item()`, or `.detach()` for tensors that are kept on purpose.
    Silent on
        Losses that are added up and then go through one backward; histories that backward itself goes through
        (`retain_graph`); bounded deques; a reference to the best loss so far; a sum that is reset within 20 steps;
        graphs in reference cycles, which die late; tensors in lists that no variable of the loop leads to.
    Known at
        20 steps for a sum, 257 for a list. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/faq.html#my-model-reports-cuda-runtime-error-2-out-of-memory
    """

    code = "GS109"
    name = "graph-kept-alive"
    severity = "warning"
    message = "{variable} {how} the graphs of {alive} losses, all since step {since}: they stay in memory"
    needs = ("GraphAgeProbe",)

    chained: int = 20
    listed: int = 256

    def check(self, record: Record) -> Iterator[Finding]:
        told: set[str] = set()
        for entry in record.facts.of(GraphAge):
            facts = [f for f in entry.examples if isinstance(f, GraphAge) and self._sick(f)]
            if not facts or facts[-1].variable in told:
                continue
            fact = facts[-1]
            told.add(fact.variable)
            yield self._finding(record, facts[0], fact)

    def _sick(self, fact: GraphAge) -> bool:
        if not fact.variable:
            return False
        if not fact.chained:
            return fact.alive > self.listed
        return fact.alive >= self.chained and fact.row - fact.oldest + 1 >= self.chained

    def _finding(self, record: Record, first: GraphAge, fact: GraphAge) -> Finding:
        optimizer = _optimizer(record, fact)
        if fact.healed:
            cure = f"write {fact.healed}"
        else:
            cure = f"keep numbers in {fact.variable}, not tensors: .item(), or .detach() for what is kept on purpose"
        return self.finding(
            (first.oldest, fact.row),
            evidence={
                "variable": fact.variable,
                "how": "chains together" if fact.chained else "holds",
                "alive": fact.alive,
                "since": fact.oldest,
            },
            stream=0 if optimizer is None else record.stream_of(optimizer.number),
            optimizer=None if optimizer is None else optimizer.number,
            where=fact.grows or fact.site,
            label="keeps the whole graph of what it takes in" if fact.grows else "",
            advice=(Advice(cure),),
        )


def _optimizer(record: Record, fact: GraphAge) -> OptimizerRecord | None:
    """The optimizer that steps on the backward of these graphs."""
    for optimizer in record.optimizers:
        sites = optimizer.scalars["backward_site"]
        if len(sites) and record.site(int(sites[-1])) == fact.site:
            return optimizer
    return record.optimizers[0] if record.optimizers else None
