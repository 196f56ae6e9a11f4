"""The other processes that train together with this one: which one this is, and small values handed among them.

Nothing in here is a collective: values go through the key-value store that the processes met by. Nobody ever waits
for another one, so a process that is not watched, leaves early or dies cannot hold up the rest.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

_PREFIX = "gradscope/"


@dataclass(frozen=True)
class Place:
    """Which one of how many processes this is."""

    rank: int
    world: int


def place() -> Place | None:
    """This process among those that train together, by torch.distributed, or else by torchrun's environment.

    None where it is alone.
    """
    found = None
    if _group_is_there():
        found = Place(torch.distributed.get_rank(), torch.distributed.get_world_size())
    elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        try:
            found = Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        except ValueError:
            return None
    return found if found is not None and 0 <= found.rank < found.world and found.world > 1 else None


def exchange() -> Exchange | None:
    """A way to the other processes; None before `init_process_group`, without others, or without a store (MPI)."""
    if not _group_is_there() or torch.distributed.get_world_size() < 2:
        return None
    try:
        store = torch.distributed.distributed_c10d._get_default_store()
    except Exception:
        return None
    return None if store is None else Exchange(store)


class Exchange:
    """Values by key, the same for all processes of the default group. No call waits for another process.

    Any of them may raise: the process that holds the store may have ended.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def put(self, key: str, value: bytes) -> None:
        self._store.set(_PREFIX + key, value)

    def get(self, key: str) -> bytes | None:
        """The value, or None where nobody has put one yet."""
        key = _PREFIX + key
        return bytes(self._store.get(key)) if self._store.check([key]) else None

    def count(self, key: str, more: int) -> int:
        """Add to a number that all processes share, and get it."""
        return int(self._store.add(_PREFIX + key, more))

    def all(self, keys: list[str]) -> list[bytes]:
        """Values that are known to be there."""
        return [bytes(value) for value in self._store.multi_get([_PREFIX + key for key in keys])]

    def several(self, keys: list[str]) -> list[bytes | None]:
        """The values that are there, None for the others. Keys that are there must never be dropped."""
        if keys and self._store.check([_PREFIX + key for key in keys]):
            return [*self.all(keys)]
        return [self.get(key) for key in keys]

    def drop(self, key: str) -> None:
        self._store.delete_key(_PREFIX + key)


def _group_is_there() -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())
