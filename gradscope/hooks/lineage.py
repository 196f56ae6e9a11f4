"""What the operations of a live graph are, by their names; and the way from one to what it was given."""
from __future__ import annotations

from typing import Any

from torch.autograd.function import BackwardCFunction

from gradscope.hooks.saved import saved

# Operations that hand on the values they are given, or some of them, in another order, shape or precision.
RESHAPING = frozenset(
    "View UnsafeView ReshapeAlias Squeeze Unsqueeze T Transpose Permute Select Slice Index Clone Alias ToCopy "
    "AsStrided Expand Split SplitWithSizes Unbind".split()
)


def operation(node: Any) -> str:
    """The name of an operation of torch's: "Softmax" for SoftmaxBackward0; "" for one written in Python, or none."""
    if node is None or isinstance(node, BackwardCFunction):
        return ""
    name = str(node.name())
    return name.rpartition("::")[2].rstrip("0123456789").removesuffix("Backward")


def given(node: Any, at: int = 0, through: frozenset[str] = RESHAPING) -> Any:
    """The operation that made the input `at` of `node`, operations `through` which it went left out; None: a constant.

    A leaf's is its AccumulateGrad.
    """
    following = node.next_functions
    node = following[at][0] if at < len(following) else None
    while node is not None and operation(node) in through and node.next_functions:
        node = node.next_functions[0][0]
    return node


def shape_made(node: Any, at: int = 0) -> tuple[int, ...] | None:
    """The shape of the output `at` of an operation; None where torch does not tell (2.4: only what it has saved)."""
    metadata = getattr(node, "_input_metadata", None)
    if metadata is None:
        made = [one.tensor for one in saved(node) if one.name == "result" and one.tensor is not None]
        return tuple(made[0].shape) if made else None
    if at >= len(metadata):
        return None
    return tuple(int(size) for size in metadata[at].shape)


def leaf(node: Any) -> Any:
    """The tensor that an AccumulateGrad is for; None for any other operation."""
    return getattr(node, "variable", None) if node is not None and not node.next_functions else None


def weight(node: Any, at: int) -> Any:
    """The leaf that is the input `at` of a layer, transposed and cast or not; None where it is made of more."""
    return leaf(given(node, at))


def nearest_leaf(node: Any, limit: int = 500) -> Any:
    """The first leaf that a walk from `node` down to what it was made of meets; None: there is none near."""
    seen: set[Any] = set()
    level = [node]
    while level and len(seen) < limit:
        following: list[Any] = []
        for one in level:
            if one is None or one in seen:
                continue
            seen.add(one)
            found = leaf(one)
            if found is not None:
                return found
            following.extend(after for after, _ in one.next_functions)
        level = following
    return None
