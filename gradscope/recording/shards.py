"""Norms of gradients of which each rank holds a part: squares put together from all of them, by way of the store."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gradscope.hooks.sharding import Part, is_part, part_of
from gradscope.recording.comparing import Own
from gradscope.recording.peers import SLOTS, Check, Floats
from gradscope.recording.stats import measure
from gradscope.recording.track import Track

MOST = 1024  # parameters


@dataclass
class Shards:
    """This rank's parts of an optimizer's gradients at one moment; `norms` is a Readable."""

    parts: list[Part | None]
    names: tuple[str, ...] = ()
    tensor: torch.Tensor | None = None  # norms of the parts that are there, on their device
    values: Floats | None = None

    def __post_init__(self) -> None:
        there = [part.tensor for part in self.parts if part is not None]
        self.tensor = measure(there) if there else None

    def fill(self, values: np.ndarray) -> None:
        self.values, self.tensor = values.astype(np.float64), None

    @property
    def ranks(self) -> tuple[int, ...]:
        """Who holds parts of the first of them: nearly always of all."""
        return next((part.ranks for part in self.parts if part is not None), ())

    def squares(self) -> Floats:
        """This rank's share of the square of each whole norm # (sharded,); NaN where there is no gradient."""
        found = np.full(len(self.parts), np.nan)
        where = [i for i, part in enumerate(self.parts) if part is not None]
        if where and self.values is not None:
            copies = np.array([part.copies for part in self.parts if part is not None], float)
            found[where] = self.values**2 / copies
        return found


def shards_of(track: Track, names: Sequence[str]) -> Shards | None:
    """Of the optimizer's gradients as they are now; None where it holds no such parameter."""
    held = [(p, names[i] if i < len(names) else "") for i, p in enumerate(track.parameters) if is_part(p)][:MOST]
    if not held:
        return None
    gradients = [p.grad for p, _ in held]
    parts = [None if g is None or not is_part(g) else part_of(g) for g in gradients]
    return Shards(parts, tuple(name for _, name in held))


@dataclass
class Gathering:
    """The shares of one step, as they come."""

    waiting: set[int]
    total: Floats


@dataclass
class Gathered:
    """Puts the shares of all ranks together, step by step."""

    _steps: dict[int, Gathering] = field(default_factory=dict)

    def begin(self, own: Own, rank: int) -> None:
        if own.sharing:
            self._steps[own.check.step] = Gathering(set(own.sharing) - {rank}, own.check.squares.copy())
            for old in list(self._steps)[:-SLOTS]:
                del self._steps[old]

    def take(self, step: int, checks: Mapping[int, Check]) -> Floats | None:
        """The norm of each whole gradient # (sharded,), once the last share has come; None before, and afterwards."""
        known = self._steps.get(step)
        if known is None:
            return None
        for rank, check in checks.items():
            if rank in known.waiting and len(check.squares) == len(known.total):
                known.waiting.discard(rank)
                known.total += check.squares
        if known.waiting:
            return None
        del self._steps[step]
        return np.asarray(np.sqrt(known.total))
