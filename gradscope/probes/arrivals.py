"""Numbers of several observations on their way from their device, to become Facts when they arrive."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from gradscope.hooks.sharding import in_memory


class Arrivals:
    """`tensor` # (numbers,) float32; with the values, `made` is called once."""

    __slots__ = ("tensor", "_made")

    def __init__(self, numbers: Sequence[torch.Tensor], made: Callable[[np.ndarray], None]) -> None:
        device = numbers[0].device
        parts = [n.detach().reshape(-1).to(device, torch.float32) for n in numbers]
        self.tensor: torch.Tensor | None = torch.cat(parts)
        self._made = made

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        self._made(values)


def readable(tensor: torch.Tensor | None) -> bool:
    """Whether plain arithmetic on it is possible, and nobody else's business."""
    if tensor is None or type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return False
    if tensor.layout != torch.strided or not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    if not in_memory(tensor):
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def by_unit(tensor: torch.Tensor, dimension: int, most: int) -> torch.Tensor:
    """# (samples, units) At most so many of its values (whole units' worth), spread evenly over all samples."""
    flat = tensor.detach()
    if dimension != tensor.dim() - 1:
        flat = flat.movedim(dimension, -1)
    if flat.dim() > 2 and flat.numel() > most:  # positions first, then samples: one sample may be all of a class
        step = -(-flat.numel() // most)
        width = flat.shape[-2]
        flat = flat[..., :: min(step, max(1, width // 2)), :]
    flat = flat.reshape(-1, flat.shape[-1]) if flat.dim() != 2 else flat
    return flat[:: max(1, flat.numel() // most)]
