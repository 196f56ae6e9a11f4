"""GS102 gradient-is-none."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loop import DisconnectedLoss, NoGradientReason, UnownedParameter
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import OptimizerRecord, Record, Wiring
from gradscope.rules.base import Rule

_WHY = {
    "not-used": "the forward never uses {it}",
    "detached": "the graph is cut by detach(), .data or a copy{cut}",
    "no-grad": "the forward ran under torch.no_grad(){cut}",
    "integer-cast": "values are turned into whole numbers (argmax, long, a comparison){cut}, which have no gradient",
    "not-in-loss": "its output takes no part in the loss",
    "no-backward": "no backward() ran before the step",
    "unknown": "no backward has reached {it}",
}
_CURE = {
    "not-used": "use it in forward(), or remove it",
    "detached": "remove the detach() (or .data, numpy, torch.tensor()){cut}",
    "no-grad": "run it outside torch.no_grad(), or set requires_grad=False and leave it out of the optimizer",
    "integer-cast": "keep the values real numbers{cut}: softmax instead of argmax, a sigmoid instead of a comparison",
    "not-in-loss": "add its loss to the one that backward() is called on, or remove it",
    "no-backward": "call loss.backward() before optimizer.step()",
    "unknown": "check that it takes part in the forward and in the loss",
}


@dataclass(frozen=True)
class GradientIsNone(Rule):
    """A parameter that should learn never gets a gradient.

    What it finds
        A trainable parameter of the optimizer whose grad is None at the steps, and why: it is not used in the forward;
        its output is detached; it ran under no_grad; values were cast to integers; its output is not in the loss; no
        backward ran at all.
    Why it matters
        The optimizer passes over it in silence. That part of the model stays as it was initialised.
    Sick
        features = self.encoder(x).detach()
        return self.head(features)
    Healed
        features = self.encoder(x)
        return self.head(features)
    What to do
        The reason's own cure, named in the finding.
    Silent on
        Frozen parameters; parameters that something else moves (a target network's copy, a moving average); steps
        without any forward (a schedule being plotted); experts or branches unused in some batches only (unused in all:
        info); parameters of a second optimizer; what GS103, GS104 or GS107 explains.
    Known at
        20 steps without a gradient, or the end of the run; without any backward: 3 steps. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/autograd.html
    """

    code = "GS102"
    name = "gradient-is-none"
    severity = "warning"
    message = "{names} had no gradient in all {steps} steps: {why}"
    needs = ("NoGradientProbe", "UnownedParametersProbe")
    explains = ("GS204",)

    rows: int = 20
    rows_without_backward: int = 3

    def check(self, record: Record) -> Iterator[Finding]:
        copies = {f.shape for f in newest_of(record.facts.of(UnownedParameter)) if not f.moved and f.owned_since < 0}
        disconnected = bool(record.facts.of(DisconnectedLoss)) and not any(
            o.counters["reached"].any() for o in record.optimizers
        )
        for optimizer in record.optimizers:
            steps, missing = optimizer.counters["steps"], optimizer.counters["missing"]
            never = (steps > 0) & (missing == steps) & (optimizer.counters["reached"] == 0)
            never &= np.array([p.shape not in copies for p in optimizer.parameters], np.bool_)
            facts = [f for f in newest_of(record.facts.of(NoGradientReason)) if f.optimizer == optimizer.number]
            never[[f.parameter for f in facts if f.moved]] = False
            wiring = optimizer.wiring
            if ((wiring & Wiring.NO_BACKWARD) != 0).all() and ((wiring & Wiring.ALL_MISSING) != 0).all():
                forgotten = any(f.reason == "no-backward" for f in facts)
                if forgotten and (len(wiring) >= self.rows_without_backward or record.meta.ended):
                    yield self._finding(record, optimizer, never, "no-backward", "error")
                continue
            if disconnected:
                continue
            never &= (steps >= self.rows) | record.meta.ended
            if never.any():
                nothing = bool(((wiring & Wiring.ALL_MISSING) != 0).all())
                yield from self._by_reason(record, optimizer, never, "error" if nothing else "warning")

    def _by_reason(
        self, record: Record, optimizer: OptimizerRecord, never: np.ndarray, severity: str
    ) -> Iterator[Finding]:
        """One finding, told by the first parameter's reason; parameters of other reasons follow in the evidence."""
        facts = {
            f.parameter: f for f in newest_of(record.facts.of(NoGradientReason)) if f.optimizer == optimizer.number
        }
        indices = [int(i) for i in np.flatnonzero(never)]
        sick = [i for i in indices if i not in facts or not facts[i].alternative]
        if not sick:
            yield self._finding(record, optimizer, never, "not-used", "info")
            return
        groups: dict[str, list[int]] = defaultdict(list)
        for index in sick:
            groups[facts[index].reason if index in facts else "unknown"].append(index)
        reason = max(groups, key=lambda r: (r != "unknown", r != "not-used", len(groups[r])))
        fact = facts.get(groups[reason][0])
        cut = ""
        if fact is not None and fact.after and fact.before:
            cut = f" between {fact.after} and {fact.before}"
        elif fact is not None and fact.before:
            cut = f" in {fact.before}"
        which = np.zeros(len(never), np.bool_)
        which[sick] = True
        yield self._finding(record, optimizer, which, reason, severity, cut)

    def _finding(
        self, record: Record, optimizer: OptimizerRecord, which: np.ndarray, reason: str, severity: str, cut: str = ""
    ) -> Finding:
        names = optimizer.names(which)
        everything = bool(which.all())
        it = "it" if len(names) == 1 else "them"
        steps = int(optimizer.counters["steps"].max())
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            severity=severity,
            evidence={
                "names": "every parameter of the optimizer" if everything else list_names(names),
                "steps": steps,
                "why": _WHY[reason].format(it=it, cut=cut),
                "reason": reason,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            where=record.site(int(optimizer.scalars["step_site"][0])),
            advice=(Advice(_CURE[reason].format(cut=cut)),),
        )
