"""What ranks tell each other: at the same steps each puts a small check into the store, and reads those of others.

Nobody waits. A value has a place of its own for each of the last `SLOTS` checks, and is written over later: nothing is
ever deleted, so that nothing read can be gone, and the store does not grow.
"""
from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from typing import Sequence

import numpy as np
import numpy.typing as npt

from gradscope.hooks.processes import Exchange

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

FIRST = (0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65)  # steps; then each `EVERY`-th and the one after it
EVERY = 100
LOOK_AFTER = 3  # steps after a pair of checks, those of the others are likely to be there
SLOTS = 16
FEW_RANKS, MANY_COLUMNS, FEW_COLUMNS = 64, 1024, 64  # beyond so many ranks, parameters are put together
_HEADER = struct.Struct("<qqqIIIddI")
_VERSION = 1


class Flag(enum.IntFlag):
    """What a rank knows of its own gradients and parameters at a check; those with a star stay once they are set."""

    SYNCED = 1  # DDP was to reduce the gradients of this step
    LOCAL = 2  # * a step was made of gradients that DDP was told not to reduce (no_sync)
    HOOKED = 4  # * DDP reduces by a function of the loop's own, or one that is meant to let ranks go apart
    REDUCED = 8  # gradients of this step were handed to all_reduce by the loop itself, among all ranks
    AVERAGED = 16  # * parameters were handed to a collective after the first step
    TALKS = 32  # * ranks hand each other something else, too: parts of a model may lie on different ones
    NOT_FINITE = 64  # a parameter or a gradient is NaN or infinite
    COPIES = 256  # tensors as large as all the gradients, and none of them, were reduced among all ranks
    ALONE = 512  # the data is shared out among the ranks, and they have never handed each other anything of size
    UNEVEN = 128  # * a `join` of DDP's has ended: a rank with less data has taken fewer steps than the others


def is_check(step: int) -> bool:
    """Whether ranks put a check before their step number `step`, counted from 0."""
    return step in FIRST if step < EVERY else step % EVERY in (0, 1)


def next_step(step: int) -> int:
    """The first step from `step` on at which there is something to do: a check, or a look at those of others."""
    while not is_check(step) and not (is_check(step - LOOK_AFTER) and not is_check(step - LOOK_AFTER + 1)):
        step += 1
    return step


def position(step: int) -> int:
    """Of a check: how many came before it."""
    return FIRST.index(step) if step < EVERY else len(FIRST) + 2 * (step // EVERY - 1) + step % EVERY


@dataclass(frozen=True)
class Check:
    """One rank's parameters and gradients before one step of one optimizer.

    `names` # (columns,) stand for the parameters' names; `parameters` and `gradients` # (columns,) for their values: 0
    where there is none to compare. The lowest bit of `gradients` says whether the optimizer holds the parameter.
    `row`, `loss` are the newest loss known, `norm` the gradients' L2 norm at the check (NaN: not known). `squares`
    # (sharded,) are those of the gradients of which each rank holds a part: this rank's share of the whole.
    """

    step: int
    flags: Flag
    pauses: int
    row: int
    loss: float
    norm: float
    names: Words
    parameters: Words
    gradients: Words
    squares: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def total(self) -> int:
        """What the parameters come to."""
        return hash(self.parameters.tobytes())

    def same_values(self, other: Check) -> bool:
        """Whether another check is about the same parameters, and all values are the same; False where none are."""
        pairs = ((self.parameters, other.parameters), (self.gradients, other.gradients), (self.names, other.names))
        alike = self.pauses == other.pauses and all(a.tobytes() == b.tobytes() for a, b in pairs)
        return alike and not (self.flags | other.flags) & Flag.NOT_FINITE and bool(self.parameters.any())

    def packed(self) -> bytes:
        head = _HEADER.pack(
            self.step, self.row, self.pauses, int(self.flags), len(self.names), len(self.squares), self.loss, self.norm,
            _VERSION,
        )  # fmt: skip
        columns = (self.names, self.parameters, self.gradients)
        whole = b"".join(column.astype("<u4").tobytes() for column in columns)
        return head + whole + self.squares.astype("<f8").tobytes()


def unpacked(value: bytes) -> Check | None:
    """The check; None where it is none, or one of another version."""
    if len(value) < _HEADER.size:
        return None
    step, row, pauses, flags, count, sharded, loss, norm, version = _HEADER.unpack_from(value)
    if version != _VERSION or len(value) != _HEADER.size + 12 * count + 8 * sharded:
        return None
    columns = np.frombuffer(value, "<u4", 3 * count, _HEADER.size)
    names, parameters, gradients = columns.reshape(3, count).astype(np.uint32)
    squares = np.frombuffer(value, "<f8", sharded, _HEADER.size + 12 * count).astype(np.float64)
    return Check(step, Flag(flags), pauses, row, loss, norm, names, parameters, gradients, squares)


class Peers:
    """The checks of one optimizer on all ranks, through the store.

    `scope` tells recordings of one process apart: all ranks count them alike.
    """

    def __init__(self, exchange: Exchange, rank: int, world: int, scope: str) -> None:
        self.rank, self.world = rank, world
        self._exchange, self._scope = exchange, scope

    def put(self, check: Check) -> None:
        self._exchange.put(self._key(self.rank, check.step), check.packed())

    def read(self, step: int, ranks: Sequence[int]) -> dict[int, Check]:
        """By rank, the checks of one step that are there."""
        found = {}
        for start in range(0, len(ranks), FEW_RANKS):
            some = ranks[start : start + FEW_RANKS]
            values = self._exchange.several([self._key(rank, step) for rank in some])
            for rank, value in zip(some, values):
                check = None if value is None else unpacked(value)
                if check is not None and check.step == step:
                    found[rank] = check
        return found

    def _key(self, rank: int, step: int) -> str:
        return f"ranks/{self._scope}/{rank}/{position(step) % SLOTS}"


def columns_for(count: int, world: int) -> npt.NDArray[np.int64]:
    """Where each column of a check begins among `count` parameters."""
    limit = MANY_COLUMNS if world <= FEW_RANKS else FEW_COLUMNS
    return np.arange(count) if count <= limit else np.arange(limit) * count // limit


def together(words: Words, starts: npt.NDArray[np.int64]) -> Words:
    """One word for the parameters of each column # (columns,); 0 where all of them are."""
    if len(starts) == len(words) or not len(starts):
        return words
    places = (2 * np.arange(len(words), dtype=np.uint32) + 1) * np.uint32(0x9E3779B1)
    return np.add.reduceat((words * places).astype(np.uint32), starts, dtype=np.uint32)
