"""Which values of a live graph are finite: from what its nodes have saved, and from what follows from that.

Not every operation saves what it got and what it made. But what it got, another has made, and what it made, others got;
some results can be computed again from these; and of a few operations it is known that they make no new values, or
that they hide none. What is left is unknown, and said to be so.
"""
from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gradscope.hooks.lineage import leaf
from gradscope.hooks.operations import adds, again, base_name, keeps_all, masks, passes, strict
from gradscope.hooks.saved import Saved, saved

MAX_NODES = 200_000
_COMPUTED = 1 << 26  # values that are computed again, at most
_DEPTH = 24
_NAMES = {
    "mm": ("self", "mat2"), "bmm": ("self", "mat2"), "addmm": ("self", "mat1", "mat2"), "mv": ("self", "vec"),
    "baddbmm": ("self", "batch1", "batch2"), "dot": ("self", "tensor"), "pow": ("self", "exponent"),
}  # fmt: skip
_FACTORS = ("mat", "mat1", "mat2", "batch1", "batch2", "vec", "tensor1", "tensor2")  # of a sum with a product
_MADE_ASIDE = ("logsumexp", "save_mean", "save_invstd", "mean", "rstd", "reserve_space", "total_weight", "workspace")


class Status(enum.Enum):
    """Of all values in a tensor. MASKED: -inf was put there on purpose, and nothing else is wrong."""

    FINITE, MASKED, BAD, UNKNOWN = range(4)


class Values:
    """The graph behind some tensors, before backward. Holds it: keep it no longer than the call at hand."""

    def __init__(self, roots: Sequence[torch.Tensor]) -> None:
        self.nodes: list[Any] = []
        self.consumers: dict[Any, list[Any]] = {}
        self.constants: dict[Any, list[Saved]] = {}  # what a node has saved that came without gradient
        self.unread: dict[Any, str] = {}  # why a node's saved tensors are not to be read
        self.complete = True
        self._known: dict[tuple[Any, int], torch.Tensor] = {}
        self._statuses: dict[tuple[Any, int], Status] = {}
        self._left = _COMPUTED
        self._walk([root.grad_fn for root in roots if root.grad_fn is not None])
        for root in roots:
            if root.grad_fn is not None:
                self._known[root.grad_fn, root.output_nr] = root.detach()

    def _walk(self, queue: list[Any]) -> None:
        seen = set(queue)
        while queue:
            node = queue.pop()
            self.nodes.append(node)
            if len(self.nodes) >= MAX_NODES:
                self.complete = False
                break
            self._read(node)
            for following, _ in node.next_functions:
                if following is not None:
                    self.consumers.setdefault(following, []).append(node)
                    if following not in seen:
                        seen.add(following)
                        queue.append(following)

    def _read(self, node: Any) -> None:
        variable = leaf(node)
        if variable is not None:
            self._known[node, 0] = variable.detach()
            return
        for one in saved(node):
            tensor = one.tensor
            if tensor is None:
                self.unread[node] = one.why
            elif tensor.grad_fn is not None:
                self._known[tensor.grad_fn, tensor.output_nr] = tensor.detach()
            elif not tensor.requires_grad and not (one.made or one.name in _MADE_ASIDE):
                self.constants.setdefault(node, []).append(one)

    # -- values -----------------------------------------------------------------------------------------------------

    def value(self, node: Any, number: int = 0, depth: int = _DEPTH) -> torch.Tensor | None:
        """What a node has made: as somebody has saved it, or computed again; None where it cannot be known."""
        found = self._known.get((node, number))
        if found is not None or depth == 0 or node in self.unread or self._left < 0:
            return found
        result = again(node, number, self.inputs(node, depth - 1))
        if result is not None:
            self._known[node, number] = result
            self._left -= result.numel()
        return result

    def inputs(self, node: Any, depth: int = _DEPTH) -> list[torch.Tensor | float | None]:
        """What a node got, in the order of `next_functions`."""
        slots = node.next_functions
        names = _NAMES.get(base_name(node), ("self", "other"))
        constants = {one.name: one.tensor for one in self.constants.get(node, ())}
        found: list[torch.Tensor | float | None] = []
        for i, (maker, number) in enumerate(slots):
            if maker is not None:
                found.append(self.value(maker, number, depth))
            elif i < len(names):
                plain = getattr(node, "_saved_exponent", None) if names[i] == "exponent" else None
                found.append(constants.get(names[i], plain))
            else:
                found.append(None)
        return found

    # -- what is known of them --------------------------------------------------------------------------------------

    def status(self, node: Any, number: int = 0, depth: int = _DEPTH) -> Status:
        """Whether all that a node has made is finite."""
        key = (node, number)
        if key not in self._statuses:
            self._statuses[key] = self._status(node, number, depth)
        return self._statuses[key]

    def _status(self, node: Any, number: int, depth: int) -> Status:
        tensor = self.value(node, number, depth)
        if tensor is not None:
            nan, _, low = condition(tensor)
            if nan is None:
                return Status.FINITE
            return Status.MASKED if nan is False and low and self._on_purpose(node, depth) else Status.BAD
        if depth == 0:
            return Status.UNKNOWN
        name = base_name(node)
        slots = node.next_functions
        if passes(name) and slots and all(maker is not None for maker, _ in slots):
            statuses = {self.status(maker, k, depth - 1) for maker, k in slots}
            if statuses == {Status.FINITE} or keeps_all(name) and len(statuses) == 1:
                return statuses.pop()
            if keeps_all(name) and Status.BAD in statuses:
                return Status.BAD
        return Status.FINITE if self._finite_later(node, 8) else Status.UNKNOWN

    def _finite_later(self, node: Any, depth: int) -> bool:
        """Whether something strict was made of it, and is finite."""
        for consumer in self.consumers.get(node, ()):
            if strict(base_name(consumer)):
                tensor = self._known.get((consumer, 0))
                if tensor is not None:
                    if condition(tensor)[0] is None:
                        return True
                elif depth and self._finite_later(consumer, depth - 1):
                    return True
        return False

    def _on_purpose(self, node: Any, depth: int) -> bool:
        """Whether the infinities in what a node made stand for "do not look here"."""
        name = base_name(node)
        slots = [(maker, k) for maker, k in node.next_functions if maker is not None]
        statuses = [self.status(maker, k, depth - 1) for maker, k in slots] if depth else []
        if Status.BAD in statuses or any(self.bad_constants(node)):
            return False
        if masks(name) or Status.MASKED in statuses:
            return True
        if adds(name) and len(slots) < len(node.next_functions):
            return True  # a mask that the graph does not know
        unknown = [maker for (maker, _), status in zip(slots, statuses) if status is Status.UNKNOWN]
        return passes(name) and depth > 0 and any(self._on_purpose(maker, depth - 1) for maker in unknown)

    def bad_constants(self, node: Any) -> Iterator[Saved]:
        """What came without gradient and holds NaN or +inf, or -inf where that is no mask."""
        for one in self.constants.get(node, ()):
            assert one.tensor is not None
            if one.name.startswith("running_") and getattr(node, "_saved_training", True):
                continue  # made of this very batch
            nan, high, low = condition(one.tensor)
            added = adds(base_name(node)) and one.name not in _FACTORS
            if nan or high or (low and not added and "mask" not in one.name):
                yield one


def condition(tensor: torch.Tensor) -> tuple[bool | None, bool, bool]:
    """Of its values: whether there are NaNs among those that are not finite (None: all are finite), +inf, -inf."""
    if tensor.layout != torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return None, False, False
    with torch.no_grad():
        low, high = (float(end) for end in torch.aminmax(tensor.detach()))
        if low != low or high != high:
            return True, bool(torch.isposinf(tensor).any()), bool(torch.isneginf(tensor).any())
    if high == float("inf") or low == -float("inf"):
        return False, high == float("inf"), low == -float("inf")
    return None, False, False
