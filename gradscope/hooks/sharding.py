"""Tensors of which each rank holds a part (DTensor): the part that is here, and who holds the others."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Part:
    """`tensor` is what lies here. The whole is put together from the parts of `ranks`, of which `copies` are alike."""

    tensor: torch.Tensor
    ranks: tuple[int, ...]
    copies: int


def is_part(tensor: torch.Tensor) -> bool:
    """Whether other ranks hold the rest of it. Its class is not imported: it may not be there."""
    return hasattr(tensor, "to_local") and hasattr(tensor, "placements")


def part_of(tensor: Any) -> Part | None:
    """This rank's part, without a collective; None where the parts do not add up by their squares.

    Parts may be sums still to be made (Partial): their squares say nothing of the whole.
    """
    placements, mesh = tensor.placements, tensor.device_mesh
    if any(placement.is_partial() for placement in placements):
        return None
    copies = 1
    for dimension, placement in enumerate(placements):
        if placement.is_replicate():
            copies *= mesh.size(dimension)
    ranks = tuple(int(rank) for rank in mesh.mesh.flatten().tolist())
    return Part(tensor._local_tensor.detach(), ranks, copies)


def in_memory(tensor: torch.Tensor) -> bool:
    """FSDP frees the storage of parameters between their uses: reading them then ends the process."""
    try:
        return bool(tensor.untyped_storage().size() > 0)
    except (RuntimeError, NotImplementedError):
        return False
