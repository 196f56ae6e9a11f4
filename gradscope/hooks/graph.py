"""Walking the autograd graph behind a tensor, before backward runs. Used on chosen rows only: about 1 us a node."""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Sequence

import torch

_MAX_NODES = 200_000
KEY = "gradscope"  # the key of our sentinel in the metadata of a loss's grad_fn,
BELOW = "gradscope.below"  # and of an operation a few steps before it, which outputs keep alive too


@dataclass(frozen=True)
class Survey:
    """What backward from some tensors can reach. Holds graph nodes: keep it for one row, no longer."""

    nodes: frozenset[Any]
    leaves: tuple[torch.Tensor, ...]
    complete: bool  # False: the graph was larger than the walk's limit


def survey(roots: Sequence[torch.Tensor]) -> Survey:
    """Walk the graph from `roots` to its leaves."""
    seen: set[Any] = set()
    leaves: dict[int, torch.Tensor] = {id(r): r for r in roots if r.grad_fn is None and r.requires_grad}
    queue = [r.grad_fn for r in roots if r.grad_fn is not None]
    while queue and len(seen) < _MAX_NODES:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor) and not node.next_functions:
            leaves[id(variable)] = variable
        queue.extend(following for following, _ in node.next_functions if following is not None)
    return Survey(frozenset(seen), tuple(leaves.values()), not queue)


def below(node: Any, hops: int) -> Any:
    """The node so many operations before `node`, or the first operation of the graph (never a leaf)."""
    for _ in range(hops):
        for following, _ in node.next_functions:
            if following is not None and type(following).__name__ != "AccumulateGrad":
                node = following
                break
        else:
            break
    return node


def reaches(start: Any, target: Any, keys: Sequence[str] = (KEY, BELOW), limit: int = 100_000) -> bool:
    """Whether a walk from the node `start` meets the sentinel `target` under one of `keys` in a node's metadata.

    Breadth first: a sum of losses is a short way through many large graphs.
    """
    seen: set[Any] = set()
    queue = deque([start])
    while queue and len(seen) < limit:
        node = queue.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        metadata = node.metadata
        if any(metadata.get(key) is target for key in keys):
            return True
        queue.extend(following for following, _ in node.next_functions if following is not None)
    return False
