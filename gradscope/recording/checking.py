"""A check in the making: bit sums and norms of one optimizer's parameters and gradients, read out late."""
from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from gradscope.hooks.collectives import address
from gradscope.hooks.sharding import in_memory, is_part
from gradscope.recording.bits import bit_sums, digests
from gradscope.recording.comparing import Own
from gradscope.recording.peers import Check, Flag, columns_for, together
from gradscope.recording.shards import shards_of
from gradscope.recording.stats import measure
from gradscope.recording.track import Track

_LOWEST = np.uint32(1)


@dataclass(frozen=True)
class Column:
    """A parameter as a check knows it: `name` is its own within its module, the same on all ranks."""

    name: str
    parameter: torch.Tensor
    held: bool  # by DistributedDataParallel
    owned: bool  # by the optimizer

    @property
    def word(self) -> int:
        return zlib.crc32(f"{self.name}|{tuple(self.parameter.shape)}".encode())


def columns_of(track: Track, replicas: Sequence[Mapping[int, str]], modules: Sequence[nn.Module]) -> list[Column]:
    """The parameters of the modules that the optimizer's are in, and what else it holds: each once, by name.

    `replicas`: what each wrapper holds, by id. All of a module counts: some rank's optimizer may lack a part of it.
    """
    mine, found = track.parameter_ids, dict[int, tuple[str, torch.Tensor]]()
    for module in modules:
        inside = list(module.named_parameters())
        if any(id(p) in mine for _, p in inside):
            found |= {id(p): (name, p) for name, p in inside if id(p) not in found}
    for number, parameter in enumerate(track.parameters):
        found.setdefault(id(parameter), (f"group{track.groups[number]}.{number}", parameter))
    held = {one for replica in replicas for one in replica}
    kept, times = [], dict[str, int]()
    for one, (name, parameter) in found.items():
        times[name] = times.get(name, 0) + 1
        label = name if times[name] == 1 else f"{name}#{times[name]}"
        if comparable(parameter) and (parameter.requires_grad or one in mine):
            kept.append(Column(label, parameter, one in held, one in mine))
    return kept


def comparable(tensor: torch.Tensor) -> bool:
    """Whether all of it lies here: no part of a DTensor, nothing sparse, and not freed for a while."""
    if is_part(tensor) or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return False
    return tensor.numel() > 0 and in_memory(tensor)


class _Numbers:
    """Of one list of tensors, some None: bit sums and norms # each on their device. Both are Readables."""

    def __init__(self, tensors: Sequence[torch.Tensor | None]) -> None:
        there = [(i, t.detach()) for i, t in enumerate(tensors) if t is not None and comparable(t)]
        self._where, self._size = [i for i, _ in there], len(tensors)
        self.sums = _Cell(bit_sums([t for _, t in there]) if there else None)
        self.norms = _Cell(measure([t for _, t in there]) if there else None)

    def words(self) -> np.ndarray:
        words = np.zeros(self._size, np.uint32)
        if self._where and self.sums.values is not None:
            words[self._where] = digests(self.sums.values.astype(np.int64))
        return words

    def norm(self) -> float:
        values = self.norms.values
        return 0.0 if values is None else float(np.sqrt(np.sum(values.astype(np.float64) ** 2)))


class _Cell:
    """Numbers on their way."""

    __slots__ = ("tensor", "values")

    def __init__(self, tensor: torch.Tensor | None) -> None:
        self.tensor = tensor
        self.values: np.ndarray | None = None

    def fill(self, values: np.ndarray) -> None:
        self.values, self.tensor = values.copy(), None


@dataclass
class Measuring:
    """What is known of a check before its numbers have arrived."""

    row: int
    step: int
    flags: Flag
    pauses: int
    columns: list[Column]
    reduced: set[int]  # addresses of tensors that the loop has handed to all_reduce
    track: Track
    cells: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parameters = _Numbers([c.parameter for c in self.columns])
        self.cells = [self._parameters.sums, self._parameters.norms]
        self.measure_gradients()

    def measure_gradients(self) -> None:
        """As they are now: when the closure of a step has returned, they are others than before."""
        gradients = [c.parameter.grad for c in self.columns]
        self._gradients = _Numbers(gradients)
        self._handed = [g is not None and address(g) in self.reduced for g in gradients]
        self._shards = shards_of(self.track, [column.name for column in self.track.columns])
        self.cells[2:] = [self._gradients.sums, self._gradients.norms, *([self._shards] if self._shards else [])]

    def arrived(self) -> bool:
        return all(cell.tensor is None for cell in self.cells)

    def done(self, row: int, loss: float, world: int, scale: float = 1.0) -> Own:
        """The check, once the numbers are there."""
        starts = columns_for(len(self.columns), world)
        names = together(np.array([c.word for c in self.columns], np.uint32), starts)
        gradients = together(self._gradients.words() & ~_LOWEST, starts) & ~_LOWEST
        owned, held = (_any([getattr(c, name) for c in self.columns], starts) for name in ("owned", "held"))
        reduced = _any(self._handed, starts)
        norm = self._gradients.norm()
        flags = self.flags | (Flag.REDUCED if reduced.any() else Flag(0))
        if not math.isfinite(norm) or not math.isfinite(self._parameters.norm()):
            flags |= Flag.NOT_FINITE
        words = together(self._parameters.words(), starts)
        shards, squares = self._shards, np.zeros(0)
        if shards is not None:
            squares, norm = shards.squares(), float("nan")
        gradients |= owned.astype(np.uint32)
        check = Check(
            self.step, flags, self.pauses, row, loss, norm / scale, names, words, gradients, squares
        )
        return Own(check, held, reduced, self.row, *((shards.ranks, shards.names) if shards is not None else ()))


def _any(flags: Sequence[bool], starts: np.ndarray) -> np.ndarray:
    """Which columns have a parameter of which that is true # (columns,) bool"""
    array = np.array(flags, np.bool_)
    return array if len(starts) == len(array) or not len(starts) else np.logical_or.reduceat(array, starts)
