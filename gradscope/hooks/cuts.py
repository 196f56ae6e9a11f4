"""Where the graph was cut, read off a trace of module calls: whose output stopped carrying a gradient, and how."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Sequence

from torch import nn

from gradscope.hooks.forward import Call


@dataclass(frozen=True)
class Cut:
    """`cause`: detached, no-grad, integer-cast, not-in-loss, not-used; between the modules `before` and `after`."""

    cause: str
    after: nn.Module | None = None  # the last module whose output still carried a gradient
    before: nn.Module | None = None  # the first one that was given none


def cut_below(calls: Sequence[Call], module: nn.Module) -> Cut:
    """Why no gradient came back to the parameters that `module` itself holds.

    The outputs in `calls` tell whether backward reached them. The causes are tried in the order of the data: not
    called; called without a gradient; its output cut off on the way; its output left out of the loss.
    """
    mine = [i for i, call in enumerate(calls) if call.module is module]
    if not mine:
        return Cut("not-used")
    if not any(calls[i].grad_enabled for i in mine):
        return Cut("no-grad", before=module)
    last = max(i for i in mine if calls[i].grad_enabled)
    outputs = calls[last].outputs
    if outputs and not any(o.requires_grad for o in outputs):
        return Cut("detached", before=module)
    if any(o.reached for o in outputs):
        return Cut("not-used")  # the module took part, this parameter of it did not
    return _cut_downstream(calls, last) or Cut("not-in-loss", after=module)


def cut_of_loss(calls: Sequence[Call], trainable: bool) -> Cut:
    """Why a loss carries no gradient at all; `trainable`: some parameter would take one."""
    if not trainable:
        return Cut("frozen")
    if not calls:
        return Cut("unknown")
    with_parameters = [i for i, c in enumerate(calls) if any(p.requires_grad for p in c.module.parameters())]
    if with_parameters and not any(calls[i].grad_enabled for i in with_parameters):
        return Cut("no-grad", before=calls[with_parameters[0]].module)
    carrying = [i for i, c in enumerate(calls) if any(o.requires_grad for o in c.outputs)]
    if not carrying:
        return Cut("unknown")
    last = max(carrying, key=lambda i: (-calls[i].depth, i))
    cut = _cut_downstream(calls, last)
    return cut or Cut("detached", after=calls[last].module)


def _cut_downstream(calls: Sequence[Call], last: int) -> Cut | None:
    """The first later call that was given tensors without a gradient although it should have been given some."""
    producer = calls[last]
    inside = _descendants(calls, last)
    before = calls[: last + 1]  # what the head is given after a cut is not the batch
    batch = {g.storage for call in before if call.depth == 0 for g in call.inputs if not g.requires_grad}
    handed_on = {g.storage for g in producer.outputs if g.storage}
    batch -= handed_on
    for call in calls[last + 1 :]:
        if id(call) in inside or not call.inputs:
            continue
        if any(g.requires_grad for g in call.inputs):
            if any(g.storage in handed_on for g in call.inputs if g.requires_grad):  # it went on, with its gradient
                producer = call
                handed_on |= {g.storage for g in call.outputs if g.storage}
            continue
        foreign = [g for g in call.inputs if g.storage is None or g.storage not in batch]
        if not foreign:
            continue
        if any(g.storage in handed_on for g in foreign):
            return Cut("detached" if call.grad_enabled else "no-grad", producer.module, call.module)
        if not call.grad_enabled:
            return Cut("no-grad", producer.module, call.module)
        if any(g.whole_numbers for g in foreign):
            return Cut("integer-cast", producer.module, call.module)
        return Cut("detached", producer.module, call.module)
    return None


def _descendants(calls: Sequence[Call], index: int) -> Collection[int]:
    """The calls made inside the call at `index`, by identity."""
    depth, inside = calls[index].depth, set()
    for call in calls[index + 1 :]:
        if call.depth <= depth:
            break
        inside.add(id(call))
    return inside
