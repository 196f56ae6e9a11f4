"""GS801 ranks-diverged."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule
from gradscope.rules.replicas import Apart, alone, apart

_STARTED_APART = (
    Advice(
        "start all ranks from the same parameters: wrap the model in torch.nn.parallel.DistributedDataParallel, or "
        "call torch.distributed.broadcast(p.data, 0) for each parameter before the first step"
    ),
)
_WENT_APART = (
    Advice(
        "make every rank take the same step: the same optimizer, lr and parameters on each, and no change of "
        "parameters under `if rank == 0`"
    ),
)


@dataclass(frozen=True)
class RanksDiverged(Rule):
    """Replicas of data-parallel training hold different parameters.

    What it finds
        At two checks running, ranks held different values of parameters that should be copies of each other:
        DistributedDataParallel holds them, or gradients are the same to the bit on these ranks at the same step (they
        are reduced by hand), these parameters' among them. A single bit counts.
    Why it matters
        Gradients are averaged over models that are not the same: they point down no loss at all, and what is saved is
        one of the models. It never heals by itself.
    Sick
        lr = 0.1 if rank == 0 else 0.01
        optimizer = torch.optim.SGD(ddp.parameters(), lr=lr)
    Healed
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
    What to do
        Start from the same parameters (DistributedDataParallel and `broadcast` see to it), give all ranks the same
        optimizer, and change parameters on all ranks or on none.
    Silent on
        Buffers (BatchNorm); local SGD and other averaging of parameters; trainings of their own on each rank;
        parameters that ranks share out among them; frozen parameters; a rank that counts its steps otherwise, or leaves
        early; parameters that are NaN or infinite; one process.
    Known at
        The second of two steps running: 0-5, 8, 9, 16, 17, 32, 33, 64, 65, then two in a hundred; rank 0 reads what
        the others have put there a few steps later. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/ddp.html (all ranks must start from the same state, and step alike)
    """

    code = "GS801"
    name = "ranks-diverged"
    severity = "error"
    message = "{who} other parameters than rank {rank}, since step {since}: {which}{before}"
    needs = ("ranks",)

    def not_judged(self, record: Record) -> str:
        return alone(record)

    def check(self, record: Record) -> Iterator[Finding]:
        for found in apart(record, "parameters", ("holds", "hold")):
            yield self._finding(found)

    def _finding(self, found: Apart) -> Finding:
        fact = found.fact
        before = f". They were the same at step {fact.last_alike}" if fact.last_alike >= 0 else ""
        return self.finding(
            found.steps,
            evidence=found.evidence(which=found.which, before=before, last_alike=fact.last_alike),
            stream=found.stream,
            optimizer=fact.optimizer,
            parameters=fact.parameters,
            where=found.where,
            label="steps replicas that are not the same",
            advice=_WENT_APART if fact.last_alike >= 0 else _STARTED_APART,
        )
