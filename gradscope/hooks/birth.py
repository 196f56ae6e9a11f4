"""Where in a live graph the first value that is no number was made."""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradscope.hooks.lineage import leaf, order
from gradscope.hooks.operations import adds, base_name, masks, normalizes, passes
from gradscope.hooks.saved import Saved
from gradscope.hooks.values import Status, Values, condition

_NEVER_NAN = ("sum", "add", "sub", "neg", "rsub")  # of finite numbers
_SCALES = ("mul", "div", "neg", "to_copy")


@dataclass
class Birth:
    """The first operation whose inputs are finite and whose result is not, or what is known instead.

    `kind`: operation (`node`), between (`span`, in forward order, `node` last), leaf (`leaves`: parameters that were
    not finite before), constant (`constant` came into `node` so, without gradient; None: `node` has not saved it), or
    unknown. `why` tells what could not be read on the way: "hooks", "changed", "freed".
    """

    kind: str
    node: Any = None
    span: list[Any] = field(default_factory=list)
    leaves: list[torch.Tensor] = field(default_factory=list)
    constant: Saved | None = None
    why: str = ""


def birth(values: Values, roots: Sequence[torch.Tensor]) -> Birth:
    """The birth of what is not finite in `roots`. Runs on the event only: it reads what is on the way there."""
    broken = [v for v in map(leaf, values.nodes) if v is not None and condition(v.detach())[0] is not None]
    if broken:
        return Birth("leaf", leaves=broken)
    found: list[Birth] = []
    queue = deque((root.grad_fn, root.output_nr) for root in roots if root.grad_fn is not None)
    seen = set(queue)
    while queue:
        at = queue.popleft()
        if values.status(*at) is not Status.BAD:
            continue
        further, born = _step_back(values, at[0])
        found += [] if born is None else [born]
        for earlier in further:
            if earlier not in seen:
                seen.add(earlier)
                queue.append(earlier)
    first = [one for one in found if one.kind == "constant"] or found
    return min(first, key=lambda one: order(one.span[0] if one.span else one.node), default=Birth("unknown"))


def _step_back(values: Values, node: Any) -> tuple[list[tuple[Any, int]], Birth | None]:
    """What, before a node whose result is bad, is bad already; or that nothing is."""
    bad: list[tuple[Any, int]] = []
    span: list[Any] = []
    constants: list[Birth] = []
    queue = [node]
    seen = {node}
    while queue:
        one = queue.pop()
        constants += [Birth("constant", one, constant=constant) for constant in values.bad_constants(one)]
        for maker, number in one.next_functions:
            status = Status.FINITE if maker is None else values.status(maker, number)
            if status is Status.BAD:
                bad.append((maker, number))
            elif status is Status.UNKNOWN and maker not in seen:
                seen.add(maker)
                span.append(maker)
                queue.append(maker)
    if bad:
        return bad, None
    if constants:
        return [], constants[-1]
    return [], _born(values, node, sorted(span, key=order))


def _born(values: Values, node: Any, span: list[Any]) -> Birth:
    why = next((values.unread[one] for one in [node, *span] if one in values.unread), "")
    makers = [one for one in span if not passes(base_name(one))]
    hidden = [one for one in [node, *makers] if _may_bring_in(values, one)]
    if not makers:
        result = values.value(node)
        if node in hidden and adds(base_name(node)) and result is not None and condition(result)[0] is True:
            return Birth("constant", node, why=why)  # finite numbers, added, never give NaN
        return Birth("operation", node, why=why)
    if hidden and normalizes(base_name(node)) and all(m in hidden or _may_carry_a_mask(m) for m in makers):
        return Birth("operation", node, span=makers, why=why)  # of what a mask was put on
    result = values.value(node)
    nan = result is not None and condition(result)[0] is True
    chain = [*makers, node]
    able = [one for one in chain if one in hidden or not (nan and _never_nan(one))] or chain
    if len(able) == 1 and not why and all(_finite_inputs(values, one) for one in able):
        return Birth("operation", able[0], why=why)
    return Birth("between", node, able, why=why)


def _never_nan(node: Any) -> bool:
    name = base_name(node)
    return name in _NEVER_NAN or name == "mean" and getattr(node, "_saved_self_sym_numel", 1) != 0


def _finite_inputs(values: Values, node: Any) -> bool:
    return all(maker is None or values.status(maker, k) is Status.FINITE for maker, k in node.next_functions)


def _may_carry_a_mask(node: Any) -> bool:
    return base_name(node) in _SCALES or masks(base_name(node))


def _may_bring_in(values: Values, node: Any) -> bool:
    """Whether something without gradient went into it that it has not saved (a mask, say), and all else is finite."""
    slots, name = node.next_functions, base_name(node)
    if node in values.unread or not (adds(name) or masks(name)):
        return False
    given = values.inputs(node)
    unsaved = masks(name) or any(maker is None and value is None for (maker, _), value in zip(slots, given))
    return unsaved and all(maker is None or values.status(maker, k) is Status.FINITE for maker, k in slots)
