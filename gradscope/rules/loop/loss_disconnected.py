"""GS107 loss-disconnected."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.loop import BackwardFailed, DisconnectedLoss
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record, Wiring
from gradscope.rules.base import Rule

_WHY = {
    "made-by-hand": "the loss is a new tensor made from a number, with nothing behind it",
    "detached": "the graph is cut by detach(), .data, .item() or a copy",
    "no-grad": "the forward ran under torch.no_grad() (or in inference mode)",
    "integer-cast": "values were turned into whole numbers (argmax, long, a comparison), which have no gradient",
    "frozen": "every parameter has requires_grad=False",
    "unknown": "nothing that was computed with a gradient is left in the loss",
}
_CURE = {
    "made-by-hand": "call backward() on the loss that the loss function returned, not on a new tensor",
    "detached": "keep the loss a tensor from the model's output on: no detach(), .data, .item() or torch.tensor()",
    "no-grad": "run the training forward outside torch.no_grad()",
    "integer-cast": "compute the loss from the raw outputs (logits); take argmax for metrics only",
    "frozen": "set requires_grad=True on the parameters to be trained",
    "unknown": "compute the loss from the model's output with differentiable operations",
}


@dataclass(frozen=True)
class LossDisconnected(Rule):
    """backward() reaches nothing that is trained.

    What it finds
        An optimizer steps, and no backward has ever reached one of its parameters; or the script died of torch's
        "does not require grad" or "backward through the graph a second time".
    Why it matters
        The loss is computed and printed, and nothing learns from it. Or torch stops with a message that names no line
        of yours.
    Sick
        loss = torch.tensor(loss_fn(model(x), y).item(), requires_grad=True)
        loss.backward()
    Healed
        loss = loss_fn(model(x), y)
        loss.backward()
    What to do
        Keep the loss connected to the model: no detach(), .item(), numpy or torch.tensor() in between. For "a second
        time": one backward per graph; detach what is carried from one step into the next.
    Silent on
        Several optimizers, each with a loss of its own; backwards for the input's gradient.
    Known at
        The first step, or the backward that raised. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/autograd.html
    """

    code = "GS107"
    name = "loss-disconnected"
    severity = "error"
    message = "{what}: {why}{cut}"
    needs = ("DisconnectedLossProbe",)
    explains = ("GS102", "GS106", "GS204", "GS302")

    def check(self, record: Record) -> Iterator[Finding]:
        failed = [f for f in newest_of(record.facts.of(BackwardFailed)) if f.backward == record.meta.backwards]
        if record.meta.status != "crashed":
            failed = []  # caught by the loop itself: its own business
        yield from map(self._failed, failed)
        facts = [f for f in newest_of(record.facts.of(DisconnectedLoss)) if not f.reached_others]
        if failed or not facts:
            return
        reached = any(o.counters["reached"].any() for o in record.optimizers)
        for optimizer in record.optimizers:
            if not reached and _never_reached(optimizer):
                yield self._unreached(record, optimizer, facts[0])

    def _unreached(self, record: Record, optimizer: OptimizerRecord, fact: DisconnectedLoss) -> Finding:
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            evidence={
                "what": "backward() reached no parameter of the optimizer",
                "why": _WHY[fact.cause],
                "cut": _cut(fact),
                "cause": fact.cause,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            where=fact.site,
            advice=(Advice(_CURE[fact.cause]),),
        )

    def _failed(self, fact: BackwardFailed) -> Finding:
        if fact.kind == "no-graph":
            what, why, cure = "the loss has no graph behind it", _WHY[fact.cause], _CURE[fact.cause]
        else:
            what = "this graph has been used by an earlier backward(), which freed it"
            why = {
                "same-loss": "backward() was called on this loss before",
                "earlier-step": "the loss still hangs on tensors of an earlier step",
                "unknown": "a part of the loss was in an earlier backward()",
            }[fact.cause]
            cure = {
                "same-loss": "call backward() once per loss; or add the losses up and call it on the sum",
                "earlier-step": "compute anew in each step what the loss depends on; detach() what is carried over, "
                "such as an RNN's hidden state",
                "unknown": "add up the losses that share a graph and call backward() once, on the sum",
            }[fact.cause]
        return self.finding(
            (fact.row, fact.row),
            evidence={"what": what, "why": why, "cut": _cut(fact), "cause": fact.cause},
            where=fact.site,
            advice=(Advice(cure),),
        )


def _cut(fact: DisconnectedLoss | BackwardFailed) -> str:
    if fact.after and fact.before:
        return f"; cut between {fact.after} and {fact.before}"
    if fact.after:
        return f"; the last output with a gradient was that of {fact.after}"
    return f"; the first module without a gradient is {fact.before}" if fact.before else ""


def _never_reached(optimizer: OptimizerRecord) -> bool:
    """It steps, and at every step after a backward none of its parameters had a gradient."""
    wiring = optimizer.wiring
    seen = (wiring & Wiring.UNREACHED) != 0
    return bool(seen.any() and ((wiring & Wiring.ALL_MISSING) != 0).all())
