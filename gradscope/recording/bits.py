"""Exact sums over the bits of tensors: equal for equal values, other ones where a single bit differs."""
from __future__ import annotations

from typing import Sequence

import numpy as np
import numpy.typing as npt
import torch

_WIDTH = 1024  # numbers a line: sums over lines and over columns show where two have changed places
_WORDS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
_MIX = np.uint64(0x9E3779B97F4A7C15)


def bit_sums(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Two sums of each, on the device of the first # (2 * tensors,) int64.

    It reads each value twice, allocates next to nothing, and does not wait for an accelerator. Sums of whole numbers
    wrap round, so they do not depend on the order in which a device adds.
    """
    with torch.no_grad():
        sums = [part for tensor in tensors for part in _sums(tensor.detach())]
        return torch.stack([part.to(sums[0].device) for part in sums])


def digests(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """What the sums of each tensor come to # (tensors,); 0 where all its bits are 0, and nowhere else."""
    pairs = sums.reshape(-1, 2).view(np.uint64)
    mixed = (pairs[:, 0] * _MIX) ^ (pairs[:, 1] + (pairs[:, 1] << np.uint64(31)))
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX
    found = (mixed >> np.uint64(32)).astype(np.uint32)
    found[(found == 0) & pairs.any(axis=1)] = 1
    return found


def _sums(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    words = _words(tensor)
    exact = words.dtype if words.dtype in (torch.int32, torch.int64) else torch.int32  # wraps, and needs no copy
    whole = words.numel() // _WIDTH
    rest = words[whole * _WIDTH :].long()
    second = (rest * _odd(rest.numel(), rest.device, _WIDTH)).sum()
    if not whole:
        return rest.sum(), second
    lines = words[: whole * _WIDTH].view(whole, _WIDTH)
    down, across = lines.sum(0, dtype=exact).long(), lines.sum(1, dtype=exact).long()
    first = (across * _odd(whole, rest.device)).sum() + rest.sum()
    return first, second + (down * _odd(_WIDTH, rest.device)).sum()


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Its bits as whole numbers of the largest kind that fits # (words,)"""
    flat = tensor.reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    size = flat.element_size()
    if size < 4 and flat.numel() * size % 4 == 0 and flat.storage_offset() * size % 4 == 0:
        return flat.view(torch.int32)
    return flat.view(_WORDS[size])


def _odd(count: int, device: torch.device, start: int = 0) -> torch.Tensor:
    """Odd weights, one a place: times one of them, no difference vanishes # (count,) int64"""
    places = torch.arange(start, start + count, device=device, dtype=torch.int64)
    return (2 * places + 1) * 0x2545F4914F6CDD1D
