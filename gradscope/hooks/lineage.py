"""What the operations of a live graph are, by their names; the way from one to what it was given, to its neighbours and
to the parameters to call it by."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch.autograd.function import BackwardCFunction

from gradscope.hooks.saved import saved

# Operations that hand on the values they are given, or some of them, in another order, shape or precision.
RESHAPING = frozenset(
    "View UnsafeView ReshapeAlias Squeeze Unsqueeze T Transpose Permute Select Slice Index Clone Alias ToCopy "
    "AsStrided Expand Split SplitWithSizes Unbind".split()
)
_LOOKED_UP = ("Embedding", "EmbeddingBag", "IndexSelect", "Gather")
_NODES = 48  # looked at for one operation
MATRIX = ("AddmmBackward", "MmBackward", "LinearBackward")
CONVOLUTION = ("ConvolutionBackward", "CudnnConvolutionBackward", "MkldnnConvolutionBackward")
BATCH_NORM = ("NativeBatchNormBackward", "CudnnBatchNormBackward", "MiopenBatchNormBackward")
_CHANNELS_SECOND = (*CONVOLUTION, *BATCH_NORM, "NativeGroupNormBackward")


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


def leaf(node: Any) -> torch.Tensor | None:
    """The parameter (or other leaf) that an AccumulateGrad is for; None for any other operation."""
    variable = getattr(node, "variable", None)
    return variable if isinstance(variable, torch.Tensor) and not node.next_functions else None


def weight(node: Any, at: int) -> Any:
    """The leaf that is the input `at` of a layer, transposed and cast or not; None where it is made of more."""
    return leaf(given(node, at))


def nearest_leaf(node: Any, limit: int = 500) -> Any:
    """The first leaf that a walk from `node` down to what it was made of meets; None: there is none near."""
    found = (leaf(one) for one in chain((node,), before(node, limit)))
    return next((tensor for tensor in found if tensor is not None), None)


class Neighbour(NamedTuple):
    """The nearest layer towards the inputs (its node), and the nearest parameter; None where there is none."""

    layer: Any
    parameter: torch.Tensor | None


def neighbour(node: Any) -> Neighbour:
    """Breadth first from `node` towards the inputs of its graph, over few operations."""
    layer, parameter = None, None
    for one in before(node):
        if layer is None and one.name().startswith((*MATRIX, *_CHANNELS_SECOND)):
            layer = one
        if parameter is None:
            parameter = leaf(one)
        if layer is not None and parameter is not None:
            break
    return Neighbour(layer, parameter)


def before(node: Any, limit: int = _NODES) -> Iterator[Any]:
    """The nodes behind `node`, nearest first."""
    seen: set[Any] = {None, node}
    queue = deque([] if node is None else [node])
    while queue and len(seen) < limit:
        for following, _ in queue.popleft().next_functions:
            if following not in seen:
                seen.add(following)
                queue.append(following)
                yield following


def is_layer(node: Any) -> bool:
    """A matrix product or a convolution."""
    return bool(node.name().startswith((*MATRIX, *CONVOLUTION)))


def weight_of(layer: Any) -> torch.Tensor | None:
    """The parameter of at least two dimensions that a layer multiplies by (transposed or cast on the way)."""
    for following, _ in layer.next_functions:
        for _ in range(4):
            if following is None or operation(following) in _LOOKED_UP:  # rows of a table: they are the input
                break
            found: torch.Tensor | None = leaf(following)
            if found is not None:
                if found.dim() >= 2:
                    return found
                break
            if len(following.next_functions) != 1:
                break
            following = following.next_functions[0][0]
    return None


def bias_of(layer: Any) -> torch.Tensor | None:
    """What a layer or a normalisation adds to each unit: the last of its parameters of one dimension."""
    found = [leaf(following) for following, _ in layer.next_functions]
    return next((tensor for tensor in reversed(found) if tensor is not None and tensor.dim() == 1), None)


def layer_before(node: Any) -> Any:
    """The nearest layer with a weight of its own, towards the inputs; None where there is none."""
    return next((one for one in before(node, 4 * _NODES) if is_layer(one) and weight_of(one) is not None), None)


def unit_dimension(node: Any, layer: Any, dimensions: int) -> int:
    """Which dimension of an activation's tensor counts the units: the second after a convolution, else the last."""
    if dimensions > 2 and layer is not None and layer.name().startswith(_CHANNELS_SECOND):
        return 1
    return dimensions - 1


def order(node: Any) -> int:
    """Nodes in the order in which the forward made them."""
    return int(node._sequence_nr()) if hasattr(node, "_sequence_nr") else 0


def module_of(name: str) -> str:
    """The module that a parameter of this name belongs to; tied names: the first."""
    first = name.split("=")[0]
    return first.rpartition(".")[0] or first
