"""Evaluation passes: what the training's own loss function says of a model in eval mode, without gradient."""
from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Callable, Hashable, Sequence

import torch
from torch import nn

from gradscope.events import Site
from gradscope.hooks.evaluation import LossCalls, way_here
from gradscope.recording.metrics import BadValue, Metrics, value_of
from gradscope.recording.track import Track, holds

SOURCE = "evaluation"
MOST = 16  # passes of one evaluation between two steps that are told apart
AGAIN = 4  # the same lines so often between two backwards: not an evaluation of a whole set each
KEPT = 64  # losses of a pass on an accelerator before they are added up


@dataclass
class _Pass:
    """The losses that one line has made, by one way, since the model was put into eval mode."""

    kind: str
    site: Site
    samples: int = 0
    total: float = 0.0  # of losses times samples
    waiting: list[tuple[torch.Tensor, int]] = field(default_factory=list)  # on an accelerator

    def add(self, loss: float | torch.Tensor, samples: int) -> None:
        self.samples += samples
        if isinstance(loss, float):
            self.total += loss * samples
            return
        self.waiting.append((loss, samples))
        if len(self.waiting) >= KEPT:
            self.waiting = [(self._sum(), 1)]

    def mean(self) -> float | torch.Tensor:
        return (self._sum() + self.total) / self.samples if self.waiting else self.total / max(1, self.samples)

    def _sum(self) -> torch.Tensor:
        with torch.no_grad():
            return torch.stack([loss.float() * samples for loss, samples in self.waiting]).sum(dim=0)


class Evaluations:
    """Open from `eval()` of a model that an optimizer trains until the next backward.

    A series is told from others by the way its loss is reached (so an evaluation on the training set, called from
    another line, is another one), by its place among those that come by the same way, and by its number of samples.
    """

    def __init__(
        self,
        metrics: Metrics,
        number_of: Callable[[Site], int],
        find: Callable[[FrameType], Site],
        guard: Callable[[], bool],
        failed: Callable[[BaseException], None],
        spent: Callable[[float], None],
    ) -> None:
        self.open = False
        self._metrics, self._number_of, self._find = metrics, number_of, find
        self._calls = LossCalls(guard, self._loss, failed, spent)
        self.curtain = self._calls.curtain
        self._root: weakref.ref[nn.Module] | None = None
        self._optimizers: tuple[int, ...] = ()
        self._passes: dict[Hashable, _Pass] = {}
        self._seen: dict[Hashable, int] = {}  # by way: passes since the last backward
        self._unclear: set[Hashable] = set()

    def begins(self, module: Any, tracks: Sequence[Track], row: int) -> None:
        """`eval()` was called on a module, after `row` had stepped."""
        mine = [track for track in tracks if track.number >= 0 and holds(module, track)]
        if not mine:
            if self.open and self._is_another(module):  # a teacher, an average: what follows is about that one
                self._end_pass(row)
                self._root = None
            return
        if row < 0 or type(module).__name__ == "OptimizedModule":
            return
        self._end_pass(row)
        self._root = weakref.ref(module)
        self._optimizers = tuple(sorted(track.number for track in mine))
        self.open = True
        self._calls.start()

    def end(self, row: int) -> None:
        """Training goes on, after `row` had stepped."""
        self.stop()
        self._end_pass(row)
        self._seen.clear()

    def stop(self) -> None:
        """Look no more."""
        self.open = False
        self._calls.stop()

    def _is_another(self, module: nn.Module) -> bool:
        root = None if self._root is None else self._root()
        if root is None or next(module.parameters(), None) is None:
            return False
        return all(module is not part for part in root.modules())

    def _loss(self, kind: str, loss: torch.Tensor, samples: int, frame: FrameType) -> None:
        root = None if self._root is None else self._root()
        if root is None or root.training or torch.is_grad_enabled():
            return
        way = (kind, way_here(frame))
        found = self._passes.get(way)
        if found is None:
            if len(self._passes) >= MOST or way in self._unclear:
                return
            found = self._passes[way] = _Pass(kind, self._find(frame))
        try:
            found.add(value_of(loss), samples)
        except BadValue:
            self._unclear.add(way)

    def _end_pass(self, row: int) -> None:
        passes, self._passes = self._passes, {}
        for way, found in passes.items():
            place = self._seen[way] = self._seen.get(way, 0) + 1
            if place > AGAIN:
                self._unclear.add(way)
            if way in self._unclear or not found.samples:
                continue
            key, name = (way, place, found.samples), f"{found.kind} in eval mode"
            self._metrics.take(
                name, found.mean(), row, SOURCE, self._optimizers, self._number_of(found.site), key
            )
