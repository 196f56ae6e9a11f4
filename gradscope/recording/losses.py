"""Which loss a backward is about: unscaled where GradScaler multiplied it."""
from __future__ import annotations

import weakref
from typing import Any

import torch


class ScaledLosses:
    """Remembers what GradScaler.scale was given, by the tensor it returned.

    Where scaled losses were combined before backward (their sum, say), the combination is divided by their scale.
    """

    def __init__(self) -> None:
        self._open: list[tuple[weakref.ref[torch.Tensor], torch.Tensor]] = []

    def scaled(self, result: Any, given: Any) -> None:
        """`GradScaler.scale(given)` returned `result`."""
        if isinstance(result, torch.Tensor) and isinstance(given, torch.Tensor):
            self._open = [(ref, loss) for ref, loss in self._open if ref() is not None]
            self._open.append((weakref.ref(result), given.detach()))
        elif isinstance(result, (list, tuple)) and isinstance(given, (list, tuple)):
            for part, loss in zip(result, given):
                self.scaled(part, loss)

    def unscaled(self, root: torch.Tensor) -> tuple[torch.Tensor, float]:
        """The loss behind `root`, and the scale of the gradients that backward will make of it (1: none)."""
        if not self._open:
            return root.detach(), 1.0
        for index, (ref, loss) in enumerate(self._open):
            scaled = ref()
            if scaled is not None and scaled is root:
                del self._open[index]
                return loss, _ratio(root.detach(), loss)
        waiting, self._open = self._open, []
        for ref, loss in waiting:
            scaled = ref()
            if scaled is None:
                continue
            scale = _ratio(scaled.detach(), loss)
            if scale != 1.0:
                return root.detach() / scale, scale
        return root.detach(), 1.0


def _ratio(scaled: torch.Tensor, loss: torch.Tensor) -> float:
    """The scale, a power of two in practice; 1 where it cannot be told (a loss of 0, or not finite)."""
    if scaled.numel() != 1 or loss.numel() != 1:
        return 1.0
    ratio = float(scaled.double() / loss.double())
    if not 0 < ratio < float("inf"):
        return 1.0
    return 2.0 ** round(torch.log2(torch.tensor(ratio)).item()) if abs(ratio) > 2 else ratio
