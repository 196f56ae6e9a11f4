"""Which operations may have made the gradients NaN: by the parameters that have them, and those that have not.

Gradients flow from the loss down the graph. Where one parameter's is finite, it was so on all ways to it: it was born
further down the other ways, among the operations that only the parameters without a finite one stand before.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gradscope.hooks.lineage import leaf, order
from gradscope.hooks.operations import base_name, singular, steep
from gradscope.hooks.values import Values

_MOST = 64  # operations looked at one by one
_NEAR = 12  # operations to a torch.where


@dataclass
class Suspects:
    """`nodes` are the operations that can do it, nearest the loss first; `words` tell of each kind, once.

    `certain`: their derivative is infinite at a value where they themselves are finite (else it may overflow).
    `masked`: one of them stands before a torch.where or the like.
    """

    nodes: list[Any]
    words: list[str]
    certain: bool
    masked: bool


def suspects(values: Values, bad: Callable[[torch.Tensor], bool]) -> Suspects:
    """Of a graph (saved tensors are not needed), those that the broken leaves have in common."""
    nodes = sorted(values.nodes, key=lambda node: -1 if leaf(node) is not None else order(node))
    good_below: set[Any] = set()
    bad_below: set[Any] = set()
    broken: set[Any] = set()
    for node in nodes:
        variable = leaf(node)
        if variable is not None:
            if bad(variable):
                broken.add(node)
            (bad_below if node in broken else good_below).add(node)
            continue
        for maker, _ in node.next_functions:
            if maker in good_below:
                good_below.add(node)
            if maker in bad_below:
                bad_below.add(node)
    alone = bad_below - good_below
    able = [n for n in nodes if n in alone or n in bad_below and any(m in alone for m, _ in n.next_functions)]
    able = [node for node in reversed(able) if leaf(node) is None]
    for tell, certain in ((singular, True), (steep, False)):
        found = [node for node in able if tell(node)][:_MOST]
        over_all = [node for node in found if _stands_over(node, broken)]
        if over_all or found:
            chosen = over_all or found
            words = list(dict.fromkeys(tell(node) for node in chosen))
            return Suspects(chosen, words, certain, any(_masked_later(values, node) for node in chosen))
    return Suspects([], [], False, False)


def _stands_over(node: Any, broken: set[Any]) -> bool:
    """Whether all that is broken gets its gradient by way of `node`, as far as a walk tells."""
    left, queue, seen = set(broken), [node], {node}
    while queue and left:
        one = queue.pop()
        left.discard(one)
        for maker, _ in one.next_functions:
            if maker is not None and maker not in seen:
                seen.add(maker)
                queue.append(maker)
    return not left


def _masked_later(values: Values, node: Any) -> bool:
    level = [node]
    for _ in range(_NEAR):
        level = [consumer for one in level for consumer in values.consumers.get(one, ())][:_MOST]
        if any(base_name(one) in ("where", "masked_fill", "index", "masked_select", "clamp") for one in level):
            return True
    return False
