"""Walking the autograd graph behind a tensor, before backward runs. Used on chosen rows only: about 1 us a node."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Sequence

import torch

_MAX_NODES = 200_000
KEY = "gradscope"  # the key of our sentinel in grad_fn.metadata


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


def reaches(start: Any, target: Any, key: str = KEY, limit: int = 100_000) -> bool:
    """Whether a walk from the node `start` meets the sentinel object `target` under `key` in a node's metadata."""
    seen: set[Any] = set()
    queue = [start]
    while queue and len(seen) < limit:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.metadata.get(key) is target:
            return True
        queue.extend(following for following, _ in node.next_functions if following is not None)
    return False


def tensors_with_graph(values: Iterable[Any]) -> list[torch.Tensor]:
    """Those of a frame's variables that are tensors with a graph behind them, or short lists of such."""
    found: list[torch.Tensor] = []
    for value in values:
        if type(value) in (list, tuple) and len(value) <= 10_000:
            candidates: Iterable[Any] = value[-1:]
        elif type(value) is dict and len(value) <= 100:
            candidates = value.values()
        else:
            candidates = (value,)
        found.extend(v for v in candidates if issubclass(type(v), torch.Tensor) and v.grad_fn is not None)
    return found
