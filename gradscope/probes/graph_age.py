"""How old the oldest graph is that is still alive."""
from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Sequence

import torch

from gradscope.events import Site
from gradscope.facts import GraphAge
from gradscope.hooks.graph import KEY, reaches, tensors_with_graph
from gradscope.hooks.sites import variables
from gradscope.probes.base import Probe, Scene

FIRST_LOOK = 20  # living graphs; then each time their number has doubled


class Sentinel:
    """Sits in the metadata of a loss's grad_fn and lives exactly as long as that graph."""

    __slots__ = ("row", "__weakref__")

    def __init__(self, row: int) -> None:
        self.row = row


class GraphAgeProbe(Probe):
    """Counts living sentinels; where there are many, asks whether a variable of the loop chains them together.

    A bounded buffer of old outputs grows for a while too: so the count alone says little before it is large.
    """

    cost = "0.4 us a backward; a walk of the loop's tensors when the number of living graphs has doubled"

    def __init__(self) -> None:
        self._alive: OrderedDict[int, weakref.ref[Sentinel]] = OrderedDict()
        self._number = 0
        self._look_at = FIRST_LOOK

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        node = roots[0].grad_fn if len(roots) == 1 else None
        if node is None or KEY in node.metadata:
            return
        sentinel = Sentinel(scene.row)
        self._number += 1
        number, alive = self._number, self._alive
        alive[number] = weakref.ref(sentinel, lambda _: alive.pop(number, None))
        node.metadata[KEY] = sentinel
        if len(alive) >= self._look_at:
            self._look_at = 2 * len(alive)
            self._tell(scene, site)

    def _tell(self, scene: Scene, site: Site) -> None:
        oldest = next((s for ref in list(self._alive.values()) if (s := ref()) is not None), None)
        if oldest is None:
            return
        frame = scene.frame()
        values = [] if frame is None else [*(v for _, v in variables(frame)), *frame.f_globals.values()]
        chained = any(reaches(t.grad_fn, oldest) for t in tensors_with_graph(values))
        scene.emit(GraphAge(scene.row, len(self._alive), oldest.row, chained, site))
