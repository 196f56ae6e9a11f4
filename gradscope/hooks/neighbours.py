"""Where an operation of a live graph stands: the layer before it, and the parameter by whose name to call it."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

_NODES = 48  # looked at for one operation
MATRIX = ("AddmmBackward", "MmBackward", "LinearBackward")
CONVOLUTION = ("ConvolutionBackward", "CudnnConvolutionBackward", "MkldnnConvolutionBackward")
BATCH_NORM = ("NativeBatchNormBackward", "CudnnBatchNormBackward", "MiopenBatchNormBackward")
_CHANNELS_SECOND = (*CONVOLUTION, *BATCH_NORM, "NativeGroupNormBackward")


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
        variable = getattr(one, "variable", None)
        if parameter is None and isinstance(variable, torch.Tensor):
            parameter = variable
        if layer is not None and parameter is not None:
            break
    return Neighbour(layer, parameter)


def before(node: Any, limit: int = _NODES) -> Iterator[Any]:
    """The nodes behind `node`, nearest first."""
    seen: set[Any] = {None, node}
    queue = deque([node])
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
            if following is None:
                break
            variable = getattr(following, "variable", None)
            if isinstance(variable, torch.Tensor):
                if variable.dim() >= 2:
                    return variable
                break
            if len(following.next_functions) != 1:
                break
            following = following.next_functions[0][0]
    return None


def bias_of(layer: Any) -> torch.Tensor | None:
    """What a layer or a normalisation adds to each unit: the last of its parameters of one dimension."""
    found = [getattr(following, "variable", None) for following, _ in layer.next_functions]
    return next((v for v in reversed(found) if isinstance(v, torch.Tensor) and v.dim() == 1), None)


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
    return int(node._sequence_nr())


def module_of(name: str) -> str:
    """The module that a parameter of this name belongs to; tied names: the first."""
    first = name.split("=")[0]
    return first.rpartition(".")[0] or first
