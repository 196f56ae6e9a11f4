"""GS802 gradients-not-synchronized."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule
from gradscope.rules.replicas import Apart, alone, apart

_WHY = {
    "ddp": "DistributedDataParallel holds {which}, and was to make {them} the same on all ranks",
    "reduced": "the loop hands the gradients of {which} to all_reduce, and some ranks do not step with the result",
    "forgotten": "the loop reduces the other gradients, and not those of {which}",
    "copies": "the loop hands copies of the gradients to all_reduce, and steps with those that it has copied",
    "alone": "a DistributedSampler gives each its part of the data, and nothing averages what they make of it",
}
_CURE = {
    "ddp": (
        "call the DistributedDataParallel wrapper, not the module inside it (`model(x)`, not `model.module(x)`), "
        "and change gradients after backward by what is the same on all ranks",
    ),
    "reduced": ("call all_reduce on every rank, on p.grad itself, after the last backward and before step()",),
    "forgotten": (
        "reduce the gradient of every parameter of the optimizer: `for p in model.parameters(): "
        "torch.distributed.all_reduce(p.grad)`, divided by the number of ranks",
        "or let torch.nn.parallel.DistributedDataParallel do it",
    ),
    "copies": ("call all_reduce on p.grad itself, or copy the result back: p.grad.copy_(average)",),
    "alone": (
        "wrap the model: model = torch.nn.parallel.DistributedDataParallel(model), before the optimizer is made, and "
        "call the wrapper",
    ),
}


@dataclass(frozen=True)
class GradientsNotSynchronized(Rule):
    """Ranks of data-parallel training step with gradients of their own.

    What it finds
        At two checks running, ranks were about to step with different gradients for parameters of which the ranks hold
        copies: DistributedDataParallel holds them and was to reduce their gradients (no `no_sync`), or the loop hands
        these or all other gradients to `all_reduce` among all ranks. Or they began as copies and went apart while
        copies of the gradients were handed to `all_reduce` before each step; or, as a warning at the end of the run,
        while a DistributedSampler gave each rank its part of the data and no tensor as large as a parameter ever left
        a rank. Gradients are compared by sums over their bits.
    Why it matters
        Each rank trains a model of its own on its part of the data, and what is saved is rank 0's. The loss falls as
        if all were well.
    Sick
        model = DistributedDataParallel(net)
        loss = loss_fn(model.module(x), y)
        loss.backward()
        optimizer.step()
    Healed
        model = DistributedDataParallel(net)
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    What to do
        Call the wrapper; reduce every gradient, on every rank, after the last backward.
    Silent on
        Accumulation under `no_sync`; local SGD (steps under `no_sync`, communication hooks that let ranks go apart,
        averaged parameters); trainings of their own on each rank; parameters that ranks share out among them (FSDP,
        DTensor, tensor and expert parallelism that talks in forward or backward); groups of some of the ranks only;
        gradients that are NaN or infinite; one process.
    Known at
        The second of two steps running: 0-5, 8, 9, 16, 17, 32, 33, 64, 65, then two in a hundred; rank 0 reads what
        the others have put there a few steps later. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/ddp.html; https://pytorch.org/tutorials/intermediate/dist_tuto.html
    """

    code = "GS802"
    name = "gradients-not-synchronized"
    severity = "error"
    message = "{who} with other gradients than rank {rank}, since step {since}: {why}"
    needs = ("ranks",)
    explains = ("GS801",)

    def not_judged(self, record: Record) -> str:
        return alone(record)

    def check(self, record: Record) -> Iterator[Finding]:
        for found in apart(record, "gradients", ("steps", "step")):
            yield self._finding(found)

    def _finding(self, found: Apart) -> Finding:
        fact = found.fact
        them = "its gradient" if fact.count == 1 else "their gradients"
        why = _WHY.get(fact.how, _WHY["ddp"]).format(which=found.which, them=them)
        return self.finding(
            found.steps,
            severity="warning" if fact.how == "alone" else None,
            evidence=found.evidence(why=why),
            stream=found.stream,
            optimizer=fact.optimizer,
            parameters=fact.parameters,
            where=found.where,
            label="steps with gradients that are not the same on all ranks",
            advice=tuple(Advice(text) for text in _CURE.get(fact.how, _CURE["ddp"])),
        )
