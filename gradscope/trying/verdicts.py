"""What `gradscope check` says of the first steps of a run. No torch."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.events import Point
from gradscope.facts.fact import newest_of
from gradscope.facts.loss import LossFunction
from gradscope.findings import Finding, list_names, show
from gradscope.record.record import OptimizerRecord, Record, Stream, Wiring
from gradscope.reporters.report import plural
from gradscope.rules.chance import chances

FACTOR = 2.0  # times ln C: what a classification loss may start with


@dataclass(frozen=True)
class Verdict:
    """One thing that was checked. `good`: None where it could not be; `why` says what was seen, or what was not."""

    name: str
    good: bool | None
    why: str


def verdicts(record: Record, findings: Sequence[Finding]) -> tuple[Verdict, ...]:
    """All that is to be said; `record` holds at least one step."""
    return (_gradients(record, findings), _updates(record), _finite(record), _start(record), _no_error(findings))


def _gradients(record: Record, findings: Sequence[Finding]) -> Verdict:
    name, without, count = "every parameter gets a gradient", list[str](), 0
    for optimizer in record.optimizers:
        steps, missing = optimizer.counters["steps"], optimizer.counters["missing"]
        count += int((steps > 0).sum())
        without += optimizer.names((steps > 0) & (missing >= steps))
    if without:
        return Verdict(name, False, f"{_of(without)} had none in any step")
    left = [parameter for f in findings if f.code == "GS103" and f.severity != "info" for parameter in f.parameters]
    if left:
        return Verdict(name, False, f"{_of(left)} belongs to no optimizer that trains it")
    return Verdict(name, True, plural(count, "parameter"))


def _updates(record: Record) -> Verdict:
    name, held, zero, count = "every parameter is updated", list[str](), 0, 0
    for optimizer in record.optimizers:
        updates, norms = optimizer.arrays["update_norm"], optimizer.grad_norm(Point.BEFORE_STEP)
        if not np.isfinite(updates).any():
            continue
        pushed = (norms > 0) & ~np.isnan(updates)
        moved = ((updates > 0) | ~np.isfinite(updates) & pushed).any(axis=0)
        held += optimizer.names(np.asarray(pushed.any(axis=0) & ~moved))
        zero += int(((norms == 0).any(axis=0) & ~pushed.any(axis=0)).sum())
        count += int(moved.sum())
    if held:
        rates = [float(np.nanmax(o.lr)) for o in record.optimizers if o.lr.size]
        why = " (every learning rate is 0)" if rates and max(rates) == 0 else ""
        return Verdict(name, False, f"{_of(held)} had a gradient and stayed as it was{why}")
    if not count:
        return Verdict(name, None, "no step's update was measured")
    return Verdict(name, True, plural(count, "parameter") + (f"; of {zero} more the gradient is 0" if zero else ""))


def _finite(record: Record) -> Verdict:
    name = "the loss is finite"
    losses = [(stream, _losses(stream)) for stream in record.streams]
    known = [(stream, values) for stream, values in losses if len(values[0])]
    for _, (rows, values) in known:
        bad = ~np.isfinite(values)
        if bad.any():
            return Verdict(name, False, f"it is {values[bad][0]} at step {rows[bad][0]}")
    if not known:
        return Verdict(name, None, "no scalar loss was seen")
    told = [f"{show(float(values[0]))} -> {show(float(values[-1]))}" for _, (_, values) in known]
    return Verdict(name, True, ", ".join(told))


def _start(record: Record) -> Verdict:
    name, told, summed = "the loss starts near that of a blind guess", list[str](), list[str]()
    for stream in record.streams:
        rows, losses = _losses(stream)
        classes = chances(record, stream) if _classifies(record, stream) else ()
        if len(classes) != 1 or not len(losses) or not math.isfinite(losses[0]):
            continue
        first, guess = float(losses[0]), math.log(classes[0])
        if first > FACTOR * guess and not _alone(record, stream):
            summed.append(f"it is {show(first)}, and more than one mean cross entropy")
        elif first > FACTOR * guess:
            why = f"it is {show(first)}, more than {FACTOR:g} times ln {classes[0]} = {show(guess)}"
            return Verdict(name, False, why)
        else:
            told.append(f"{show(first)}, and ln {classes[0]} = {show(guess)}")
    if summed:
        return Verdict(name, None, "; ".join(summed))
    if not told:
        return Verdict(name, None, "no classification loss of torch's was seen")
    return Verdict(name, True, "; ".join(told))


def _no_error(findings: Sequence[Finding]) -> Verdict:
    name, found = "no error is found", [f for f in findings if f.severity == "error" and f.caused_by is None]
    if found:
        return Verdict(name, False, ", ".join(f"{f.code} {f.name}" for f in found))
    warnings = sum(f.severity == "warning" and f.caused_by is None for f in findings)
    return Verdict(name, True, plural(warnings, "warning") if warnings else "nor a warning")


def _classifies(record: Record, stream: Stream) -> bool:
    numbers = {optimizer.number for optimizer in stream.optimizers}
    facts = [f for f in newest_of(record.facts.of(LossFunction)) if f.optimizer in numbers]
    return bool(facts) and all(f.function.endswith("cross-entropy") for f in facts)


def _alone(record: Record, stream: Stream) -> bool:
    """Whether the loss is one cross entropy and nothing else: of a sum (of tokens, of two halves of a batch, with
    a second head's) it is not known what guessing costs."""
    numbers = {optimizer.number for optimizer in stream.optimizers}
    facts = [f for f in newest_of(record.facts.of(LossFunction)) if f.optimizer in numbers]
    return all(fact.alone for fact in facts)


def _losses(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a loss, and it."""
    first: OptimizerRecord = stream.optimizers[0]
    known = (np.asarray(first.wiring) & int(Wiring.NO_LOSS)) == 0
    return np.asarray(stream.rows)[known], np.asarray(stream.loss, np.float64)[known]


def _of(names: Sequence[str]) -> str:
    return list_names(tuple(names))
