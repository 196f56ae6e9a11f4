"""How old the oldest graph is that is still alive."""
from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Sequence

import torch

from gradscope.events import Site
from gradscope.facts.loop import GraphAge
from gradscope.hooks.graph import BELOW, KEY, below, reaches
from gradscope.hooks.holders import Held, Holder, find_holder
from gradscope.probes.base import Probe, Scene

FIRST_LOOK = 20  # living graphs; then each time their number has doubled,
GROWN = 257  # and when there are so many: no bounded buffer of the usual sizes
HOPS = 3  # operations between a loss and what is kept of its graph where only the model's output is kept


class Sentinel:
    """Sits in the metadata of two nodes of a loss's graph and lives as long as one of them.

    `graphs`: how many it stands for, where not every graph gets one.
    """

    __slots__ = ("row", "graphs", "__weakref__")

    def __init__(self, row: int, graphs: int) -> None:
        self.row, self.graphs = row, graphs


class GraphAgeProbe(Probe):
    """Counts living sentinels; where there are many, asks which variable of the loop keeps them.

    A bounded buffer of old outputs grows for a while too, and garbage in reference cycles dies late: so the count alone
    says little. What backward itself goes through (an RNN's history with `retain_graph`) is kept on purpose.
    """

    cost = "3 us a backward; a walk of the loop's tensors when the number of living graphs has doubled"

    always = frozenset({"before_backward"})

    def __init__(self) -> None:
        self._alive: OrderedDict[int, weakref.ref[Sentinel]] = OrderedDict()
        self._number = 0
        self._living = 0  # graphs
        self._backwards = 0
        self._look_at = FIRST_LOOK
        self._chain: Holder | None = None

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        graphs, self._backwards = scene.backwards - self._backwards, scene.backwards
        node = roots[0].grad_fn if len(roots) == 1 else None
        if node is None or KEY in node.metadata:
            return
        sentinel = Sentinel(scene.row, graphs)
        self._number += 1
        self._living += graphs
        number = self._number
        self._alive[number] = weakref.ref(sentinel, lambda _: self._died(number, graphs))
        node.metadata[KEY] = sentinel
        below(node, HOPS).metadata.setdefault(BELOW, sentinel)
        living = self._living
        if living >= self._look_at:
            self._look_at = GROWN if living < GROWN <= 2 * living else 2 * living
            self._tell(scene, node, site)

    def _died(self, number: int, graphs: int) -> None:
        if self._alive.pop(number, None) is not None:
            self._living -= graphs

    def _tell(self, scene: Scene, newest: object, site: Site) -> None:
        living = [s for ref in list(self._alive.values()) if (s := ref()) is not None]
        if not living or reaches(newest, living[0]):
            return
        number = sum(sentinel.graphs for sentinel in living)
        many = number // 2
        # The oldest alone may be kept for itself: the best loss so far.
        oldest, middle = living[0], living[len(living) // 2]

        def chains(held: Held) -> bool:
            few = held.tensors if len(held.tensors) <= 16 else held.tensors[-1:]
            return any(reaches(t.grad_fn, middle) and reaches(t.grad_fn, oldest) for t in few)

        def lists(held: Held) -> bool:
            return held.listed and len(held.tensors) >= many

        holder = self._chain
        if holder is None:
            holder = self._chain = find_holder(scene.frame(), chains)
        if holder is None and number >= GROWN:
            holder = find_holder(scene.frame(), lists)
        found = ("", None, "") if holder is None else (holder.variable, holder.site, holder.healed)
        scene.emit(GraphAge(scene.row, number, oldest.row, self._chain is not None, site, *found))
        scene.trigger("graph-age")
