"""The batch, as the operations of a live graph have saved it: what the model was given, and what its output is compared
with."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from gradscope.hooks.lineage import given, operation, order
from gradscope.hooks.saved import saved

# By operation: what its input is called among what it has saved, and which of its operands that is.
_TAKES = {
    "Addmm": ("mat1", 1), "Mm": ("self", 0), "Linear": ("input", 0), "MkldnnLinear": ("input", 0),
    "Convolution": ("input", 0), "CudnnConvolution": ("input", 0), "MkldnnConvolution": ("input", 0),
    "NativeBatchNorm": ("input", 0), "CudnnBatchNorm": ("input", 0), "MiopenBatchNorm": ("input", 0),
    "NativeLayerNorm": ("input", 0), "NativeGroupNorm": ("input", 0), "FusedRmsNorm": ("input", 0),
    "MkldnnRnnLayer": ("input", 0), "CudnnRnn": ("input", 0), "MiopenRnn": ("input", 0),
    "Embedding": ("indices", -1), "EmbeddingBag": ("indices", -1),
}  # fmt: skip
_COMPARES = (
    "NllLoss", "NllLoss2D", "NllLoss2d", "BinaryCrossEntropy", "BinaryCrossEntropyWithLogits", "MseLoss",
    "SmoothL1Loss", "HuberLoss", "KlDiv", "MultiMargin", "MultilabelMarginLoss", "SoftMarginLoss",
)  # fmt: skip
_NAMES = ("target", "labels")


class Part(NamedTuple):
    """A tensor of the batch, as it came: without a graph of its own; `node` is the operation that has taken it."""

    tensor: torch.Tensor
    node: Any


def inputs(nodes: Iterable[Any]) -> list[Part]:
    """What layers and normalisations were given that no operation with a gradient has made, in the forward's order.

    Whole numbers are indices, of an embedding. A frozen layer saves no input: what goes into it is not here.
    """
    found = []
    for node in nodes:
        name, operand = _TAKES.get(operation(node), ("", -1))
        if name and (operand < 0 or operand < len(node.next_functions) and given(node, operand) is None):
            found += [Part(one.tensor, node) for one in saved(node) if one.name == name and one.tensor is not None]
    return sorted(found, key=lambda part: order(part.node))


def targets(nodes: Iterable[Any]) -> list[Part]:
    """What torch's loss functions compare with, where no operation with a gradient has made it."""
    found = []
    for node in nodes:
        if operation(node) in _COMPARES and (len(node.next_functions) < 2 or node.next_functions[1][0] is None):
            found += [Part(one.tensor, node) for one in saved(node) if one.name in _NAMES and one.tensor is not None]
    return sorted(found, key=lambda part: order(part.node))
