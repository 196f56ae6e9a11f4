"""Where a value that is no number was born, in words, and what to do about it."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.findings import list_names
from gradscope.record.record import Array, OptimizerRecord, Record, Stream, Wiring

_WHY = {
    "hooks": "activation checkpointing or the like keeps values aside, which are not to be computed again",
    "changed": "a tensor on the way was changed in place since",
    "freed": "the graph has been freed",
    "size": "the graph has more than 200000 operations",
}
_HELP = (
    ("log", "keep the argument of the log away from 0 (`x.clamp_min(1e-8).log()`), or take log_softmax, logsigmoid "
     "or cross_entropy of the logits"),
    ("softmax", "leave each row at least one position that is not masked, or drop such rows"),
    ("attention", "leave each row at least one position that is not masked, or drop such rows"),
    ("sqrt", "keep the argument of the root above 0: `(x + 1e-8).sqrt()`, `x.clamp_min(1e-8).sqrt()`"),
    ("pow", "keep the base of the power away from 0 and from negative values: `x.clamp_min(1e-8)`"),
    ("division", "keep the divisor away from 0: `a / (b + 1e-8)`, `b.clamp_min(1e-8)`"),
    ("reciprocal", "keep the divisor away from 0: `1 / (b + 1e-8)`, `b.clamp_min(1e-8)`"),
    ("exp", "bound what goes into exp (`logvar.clamp(-10, 10)`), or compute with logarithms (logsumexp, softplus)"),
    ("mean", "a mean over nothing is NaN: leave out batches (or selections) that are empty"),
    ("acos", "bound the argument: `x.clamp(-1 + 1e-6, 1 - 1e-6)`"),
    ("asin", "bound the argument: `x.clamp(-1 + 1e-6, 1 - 1e-6)`"),
    ("atan2", "keep the two arguments from both being 0"),
)  # fmt: skip
_MASKED = (
    "a torch.where or a mask hides the value but not the derivative (0 * inf is NaN): put a harmless value in before "
    "the operation, `torch.where(fine, x, torch.ones_like(x))`"
)


def loss_origin(record: Record, stream: Stream, row: int) -> LossOrigin | None:
    """What is known of the birth of the loss at this row; an exact replay's word counts more."""
    facts = [f for f in newest_of(record.facts.of(LossOrigin)) if f.row == row and _concerns(f.optimizers, stream)]
    known = [f for f in facts if f.kind != "unknown"]
    fact = max(known or facts, key=lambda fact: fact.replayed, default=None)
    return _by_lr(stream, fact) if fact is not None and fact.kind == "parameter" else fact


def _by_lr(stream: Stream, fact: LossOrigin) -> LossOrigin:
    """The learning rate that broke parameters is that of the step before; a loop may have set another one since."""
    used = []
    for optimizer in stream.optimizers:
        before = optimizer.lr[optimizer.rows < fact.row][-1:]
        if not fact.optimizers or optimizer.number in fact.optimizers:
            used += list(map(float, before[~np.isfinite(before)]))
    if used:
        return replace(fact, cause="lr", detail=f"lr {used[0]:g}")
    return replace(fact, cause="", detail="") if fact.cause == "lr" and len(stream.rows) else fact


def gradient_origins(record: Record, stream: Stream) -> list[GradientOrigin]:
    """What is known of gradients that were not finite, oldest first."""
    facts = newest_of(record.facts.of(GradientOrigin))
    return sorted((f for f in facts if _concerns(f.optimizers, stream)), key=lambda f: (f.row - f.late, -f.replayed))


_TOO_LARGE = ("overflows", "gives")  # values too large to be held; without a name for what was special


def born_of_itself(record: Record, stream: Stream, row: int) -> bool:
    """Whether an operation that was given no huge values made the loss of this row, or its parameters, no number.

    A logarithm of 0, 0 / 0, a row that is masked throughout, the derivative of sqrt at 0, an infinite input.
    """
    origin = loss_origin(record, stream, row)
    if origin is not None and origin.kind == "operation":
        return bool(origin.what) and not any(word in origin.what for word in _TOO_LARGE)
    if origin is not None and (origin.kind != "parameter" or origin.cause != "gradient"):
        return False
    before = stream.rows[stream.rows < row]
    last = int(before[-1]) if len(before) else -1
    early = loss_origin(record, stream, last)
    if early is not None and early.of_gradient:
        return True
    return any(f.singular and last in (f.row, f.row - 1) for f in gradient_origins(record, stream))


def _concerns(optimizers: tuple[int, ...], stream: Stream) -> bool:
    return not optimizers or any(optimizer.number in optimizers for optimizer in stream.optimizers)


def known_losses(stream: Stream) -> Array:
    """# (rows,) bool: where a loss is known, of any of the optimizers."""
    alike = (o.wiring for o in stream.optimizers if len(o.rows) == len(stream.rows))
    return np.asarray(np.logical_or.reduce([(wiring & Wiring.NO_LOSS) == 0 for wiring in alike]))


def with_loss(stream: Stream, at: int) -> OptimizerRecord:
    """The first optimizer that has a loss in a row."""
    alike = [o for o in stream.optimizers if len(o.rows) == len(stream.rows)]
    return next((o for o in alike if not o.wiring[at] & Wiring.NO_LOSS), alike[0])


def began(fact: LossOrigin | None) -> str:
    """The birth as the end of a sentence; "" where nothing is known."""
    if fact is None:
        return ""
    if fact.kind == "parameter":
        return f". Where it began: {_parameters(fact)}"
    if fact.kind == "constant":
        return f". Where it began: {came_in(fact)}"
    if fact.kind == "unknown":
        return f". Where it began cannot be told: {_WHY[fact.why]}" if fact.why in _WHY else ""
    line = "" if fact.site is None else f" (line {fact.site.line})"
    where = f", in {_shown(fact.module)}" if fact.module else place(fact.inside, fact.before, fact.after)
    if fact.kind == "operation":
        return f". Where it began: {fact.what}{where}{line}"
    why = f" ({_WHY[fact.why]})" if fact.why in _WHY else " (what lies between is not kept)"
    return f". Where it began: one of {', '.join(fact.operations)}{where}{line}{why}"


def module(parameter: str) -> str:
    """`encoder.norm.weight` -> encoder.norm."""
    first = parameter.partition("=")[0]
    return first.rpartition(".")[0] or first


def place(inside: str, before: str, after: str) -> str:
    """, in encoder.norm | , between encoder.norm and head | , after head, on the way to the loss | , before stem"""
    if inside:
        return f", in {_shown(module(inside))}"
    first, last = module(before) if before else "", module(after) if after else ""
    if first and first == last:
        return f", inside {_shown(first)}"
    if first and last:
        common = _common(first, last)
        return f", between {_shown(first)} and {_shown(last)}" + (f", in {_shown(common)}" if common else "")
    if first:
        return f", after {_shown(first)}, on the way to the loss"
    return f", before {_shown(last)}" if last else ""


def _shown(name: str) -> str:
    """A module of a Sequential has but a number."""
    return f"layer {name}" if name.isdigit() else name


def _common(first: str, last: str) -> str:
    shared = []
    for a, b in zip(first.split(".")[:-1], last.split(".")[:-1]):
        if a != b:
            break
        shared.append(a)
    return ".".join(shared)


def came_in(fact: LossOrigin) -> str:
    """What was broken before anything was computed with it."""
    where = place(fact.inside, fact.before, fact.after)
    how = f" ({fact.broken})" if fact.broken else ""
    variable = f" `{fact.variable}`" if fact.variable else ""
    role = {
        "input": "the input", "target": "the target", "statistics": "the running statistics",
        "mask": "the mask", "tensor": "a tensor without gradient",
    }[fact.role or "tensor"]  # fmt: skip
    return f"{role}{variable} of {fact.operations[0]} was no number already{how}{where}"


def _parameters(fact: LossOrigin) -> str:
    which = list_names(fact.parameters) or "some"
    many = f"{fact.count} of {fact.of} parameters ({which}) were" if fact.of > 1 else f"{which} was"
    because = {
        "lr": f"the step before had {fact.detail}",
        "setting": f"the step before had {fact.detail}",
        "gradient": "the gradients of the step before were not finite"
        + (f" (so is {fact.detail})" if fact.detail else ""),
        "update": "the step before made them infinite: a gradient or an update too large to be held",
        "start": "they were made or loaded so, no step has changed them",
        "elsewhere": "something else than the optimizer's step made them so",
    }.get(fact.cause)
    return f"{many} no number any more" + (f": {because}" if because else "")


def help_for(operations: tuple[str, ...], masked: bool = False) -> str:
    """What to do about them; "" where nothing is known."""
    if masked:
        return _MASKED
    for operation in operations:
        for word, text in _HELP:
            if word in operation:
                return text
    return ""


def grew(losses: Array) -> bool:
    """Whether finite losses, up to the last, had left their scale: then that is the cause."""
    return len(losses) >= 2 and bool(losses[-1] > 10 * max(abs(float(losses[0])), 1e-12))
