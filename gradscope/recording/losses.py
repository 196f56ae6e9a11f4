"""Which loss a backward is about: unscaled where GradScaler multiplied it."""
from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch

from gradscope.hooks.graph import reaches
from gradscope.recording.stats import UNSCALED, Scale, on_host

_KEY = "gradscope-scale"
_KEPT = 64  # scaled losses that wait for their backward


class _Mark:
    """Sits in the metadata of a scaled loss's grad_fn, so that it is known again inside a combination."""

    __slots__ = ("__weakref__",)


@dataclass
class _Scaled:
    tensor: weakref.ref[torch.Tensor]  # what GradScaler.scale returned
    mark: weakref.ref[_Mark] | None
    value: torch.Tensor  # its value
    loss: torch.Tensor  # what it was given


class ScaledLosses:
    """Remembers what GradScaler.scale was given, by the tensor it returned.

    Where scaled losses were combined before backward (their sum, say), the combination is divided by their scale.
    """

    def __init__(self) -> None:
        self._open: list[_Scaled] = []

    def scaled(self, result: Any, given: Any) -> None:
        """`GradScaler.scale(given)` returned `result`."""
        if isinstance(result, torch.Tensor) and isinstance(given, torch.Tensor):
            mark = None
            if result.grad_fn is not None:
                mark = result.grad_fn.metadata[_KEY] = _Mark()
            seen = None if mark is None else weakref.ref(mark)
            self._open.append(_Scaled(weakref.ref(result), seen, result.detach(), given.detach()))
            del self._open[:-_KEPT]
        elif isinstance(result, (list, tuple)) and isinstance(given, (list, tuple)):
            for part, loss in zip(result, given):
                self.scaled(part, loss)

    def node(self, root: torch.Tensor) -> Any:
        """The operation that has made a loss with a graph, before it was scaled."""
        if any(entry.tensor() is root for entry in self._open):
            return next((maker for maker, _ in root.grad_fn.next_functions if maker is not None), root.grad_fn)
        return root.grad_fn

    def unscaled(self, root: torch.Tensor) -> tuple[torch.Tensor, Scale]:
        """The loss behind `root`, and the scale of the gradients that backward will make of it."""
        if not self._open:
            return root, UNSCALED
        for index, entry in enumerate(self._open):
            tensor = entry.tensor()
            if tensor is not None and tensor is root:
                del self._open[index]
                return entry.loss, _scale(entry)
        for entry in list(self._open):
            mark = entry.mark() if entry.mark is not None else None
            if mark is None:
                self._open.remove(entry)
            elif reaches(root.grad_fn, mark, (_KEY,)):
                self._open.remove(entry)
                scale = _scale(entry)
                if scale is not UNSCALED:
                    by = scale.value if scale.tensor is None else scale.tensor.to(root.device)
                    return (root.detach() / by).reshape(()), scale
        return root.detach(), UNSCALED


def _scale(entry: _Scaled) -> Scale:
    """Filled in already where that does not mean to wait for a device."""
    if entry.value.numel() != 1 or entry.loss.numel() != 1:
        return UNSCALED
    scale = Scale((entry.value.double() / entry.loss.double()).reshape(1))
    if scale.tensor is not None and on_host(scale.tensor):
        scale.fill(scale.tensor.numpy())
        return scale if scale.value != 1.0 else UNSCALED
    return scale
