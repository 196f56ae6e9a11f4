"""Keeping inside bounds: the record's memory, and the copies that measuring an update takes."""
from __future__ import annotations

import os
from typing import Sequence

import torch

from gradscope.record.table import OptimizerTable

COPY_SHARE = 0.05  # of the free memory of the parameters' device


def share_memory(tables: Sequence[OptimizerTable], limit: int) -> None:
    """Give each optimizer's rows its share of `limit` bytes: three quarters for what is known by parameter, by their
    numbers of parameters; a quarter for scalars, by their numbers of groups.
    """
    for stores, part in (([t.arrays for t in tables], limit * 3 // 4), ([t.scalars for t in tables], limit // 4)):
        total = sum(store.row_bytes for store in stores)
        for store in stores:
            store.resize(part * store.row_bytes // max(1, total))


def room_for_copies(parameters: Sequence[torch.Tensor]) -> bool:
    """Whether a copy of these parameters takes at most 5 % of what their device has free."""
    if not parameters:
        return False
    needed = sum(p.numel() * p.element_size() for p in parameters)
    device = parameters[0].device
    if device.type == "cuda":
        return bool(needed <= COPY_SHARE * torch.cuda.mem_get_info(device)[0])
    try:
        return bool(needed <= COPY_SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return bool(needed <= 256 << 20)
