"""Which layers of a model do something else in eval mode."""
from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def layers_of(module: nn.Module | None) -> list[nn.Module]:
    """In the parts that are trained: dropout that drops, and batch normalisation that keeps running statistics."""
    found: dict[nn.Module, bool] = {}
    stack = [] if module is None else [(module, False)]
    while stack:
        part, trains = stack.pop()
        parameters = list(part.parameters())
        trains = any(p.requires_grad for p in parameters) if parameters else trains  # dropout goes by what it stands in
        if trains and _differs(part):
            found[part] = True
        stack.extend((child, trains) for child in reversed(list(part.children())))
    return list(found)


def _differs(layer: nn.Module) -> bool:
    """Whether the layer does something else in eval mode."""
    if issubclass(type(layer), _DropoutNd):
        return bool(layer.p > 0)
    if not issubclass(type(layer), _BatchNorm) or layer.running_mean is None:
        return False
    return layer.weight is None or bool(layer.weight.requires_grad)
