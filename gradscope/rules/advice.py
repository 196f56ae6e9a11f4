"""Learning rates to advise: on the 1-3-10 grid, for each parameter group, the peak of a schedule."""
from __future__ import annotations

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.learning_rate import Hyperparameters
from gradscope.findings import Advice
from gradscope.record.record import OptimizerRecord, Record

_MOST = 4  # groups that an advice is spelled out for
_SETTLED = 100  # rows


def grid_1_3_10(value: float) -> float:
    """The largest of ... 0.001, 0.003, 0.01 ... that is not above `value`."""
    decade = np.floor(np.log10(value * (1 + 1e-9)))
    mantissa = 3 if value * (1 + 1e-9) >= 3 * 10.0**decade else 1
    return float(f"{mantissa}e{int(decade)}")


def nearest_1_3_10(value: float) -> float:
    """The nearest of ... 0.001, 0.003, 0.01 ..., by ratios."""
    return grid_1_3_10(value * 10**0.25)


def damped(record: Record, optimizer: OptimizerRecord, eps: float = 0.01) -> bool:
    """Whether an optimizer divides by an eps as large as that (1e-8 is usual), not by the size of its gradients."""
    given = settings(record, optimizer).get("eps")
    return isinstance(given, (int, float)) and given >= eps


def settings(record: Record, optimizer: OptimizerRecord, group: int = 0) -> dict[str, object]:
    """What a parameter group was set to at the optimizer's first step; {} where that is not known."""
    for fact in newest_of(record.facts.of(Hyperparameters)):
        if fact.optimizer == optimizer.number and fact.group == group:
            return dict(fact.values)
    return {}


def leave_out_maximize(record: Record, optimizer: OptimizerRecord) -> tuple[Advice, ...]:
    """Where an optimizer was told to climb."""
    if not any(settings(record, optimizer, group).get("maximize") is True for group in range(optimizer.lr.shape[1])):
        return ()
    values = {"optimizer": optimizer.number, "to": False}
    return (Advice("leave out maximize=True: the loss is to be made small", "set-maximize", values),)


def peaks(record: Record, optimizer: OptimizerRecord) -> list[float]:
    """The lr of each group # (groups,): the largest so far, or the one that its schedule is heading for."""
    seen = np.nanmax(optimizer.lr, axis=0) if len(optimizer.lr) else np.zeros(0)
    known = []
    for group, lr in enumerate(map(float, seen)):
        values = settings(record, optimizer, group)
        meant = values.get("max_lr", values.get("initial_lr"))
        known.append(max(lr, float(meant)) if isinstance(meant, (int, float)) else lr)
    return known


def settled(record: Record, optimizer: OptimizerRecord) -> list[float]:
    """The lr of each group # (groups,): as it is, where it has not changed for a while, else its peak."""
    newest = optimizer.lr[-_SETTLED:]
    return list(map(float, newest[-1])) if (newest == newest[-1]).all() else peaks(record, optimizer)


def change_lr(optimizer: OptimizerRecord, now: list[float], to: float, why: str = "") -> tuple[Advice, ...]:
    """Set the largest group's lr to `to`, and the others in proportion, on the grid below.

    `now` # (groups,): what they are, or what they are at their peak.
    """
    largest = max(now, default=0.0)
    advice = []
    for group, lr in enumerate(now):
        if not (0 < lr < np.inf and largest > 0):
            continue
        target = to if lr == largest else grid_1_3_10(to * lr / largest)
        if target == lr:
            continue
        which = f" of group {group}" if len(now) > 1 else ""
        peak = " at its peak" if lr > 1.05 * float(optimizer.lr[-1][group]) else ""
        verb = "lower" if target < lr else "raise"
        values = {"optimizer": optimizer.number, "group": group, "from": lr, "to": target}
        advice.append(Advice(f"{why}{verb} lr{which} to {target:g}{peak} (it is {lr:g})", "set-lr", values))
    return tuple(advice[:_MOST])


def decade_down(record: Record, optimizer: OptimizerRecord, why: str = "") -> tuple[Advice, ...]:
    """A tenth of the largest group's lr, on the grid."""
    now = settled(record, optimizer)
    largest = max(now, default=0.0)
    return change_lr(optimizer, now, grid_1_3_10(largest / 10), why) if 0 < largest < np.inf else ()
