"""What ranks that train together find out of each other."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class RanksDiffer(Fact):
    """Ranks whose parameters or gradients (`what`) were not those of `rank`, before the steps `since` and `step` of an
    optimizer and the one after `since`; the checks up to `last_alike` (-1: none) found the same parameters.

    `how` shows that they should be the same: ddp (DistributedDataParallel holds them), reduced (the loop hands these
    gradients to all_reduce), forgotten (it does so with other ones), copies (with copies of them), alone (the data is
    shared out among the ranks, and they hand each other nothing), alike (most gradients are the same to the bit).
    `count` of `of` parameters differ, the first of them are `parameters`.
    """

    optimizer: int
    what: str
    how: str
    rank: int
    ranks: tuple[int, ...]
    world: int
    since: int
    step: int
    last_alike: int
    parameters: tuple[str, ...]
    count: int
    of: int
    site: Site

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.what)


@dataclass(frozen=True)
class RanksCompared(Fact):
    """So many checks of other ranks were compared with this one's, of so many ranks."""

    optimizer: int
    checks: int
    ranks: int

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class ShardedNorms(Fact):
    """L2 norms of an optimizer's gradients at one step, of which each of so many ranks holds a part: of the wholes.

    NaN where a parameter had no gradient. `total` is the norm over all of them.
    """

    optimizer: int
    names: tuple[str, ...]
    norms: tuple[float, ...]
    total: float
    ranks: int

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)
