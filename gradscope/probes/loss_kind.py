"""Losses that are not meant to fall: adversarial ones, and those of reinforcement learning."""
from __future__ import annotations

import sys
from typing import Sequence

import torch

from gradscope.events import Site
from gradscope.facts import LossKind, SharedLoss
from gradscope.hooks.forward import Call
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

ENVIRONMENTS = ("gymnasium", "gym", "pettingzoo", "stable_baselines3", "dm_env", "ale_py", "procgen", "torchrl")
ROWS = 3  # in so many of the rows that are looked at closely, before anything is said
_LOSSES = ("Loss", "BinaryCrossEntropy")  # in the names of torch's nodes


class LossKindProbe(Probe):
    """Looks at what else took part in a loss: whose parameters, and which calls of modules.

    `SharedLoss` where its graph passes parameters that another optimizer holds (a generator's loss passes the
    discriminator). `LossKind` where, row after row, a network was called whose output is not in the graph, on inputs
    that are new each time (an evaluation on the same test set is none), or where the number of calls behind a backward
    differs and no loss function of torch's is in the graph.
    """

    cost = "a walk over the module calls of the first rows"

    def __init__(self) -> None:
        self._row = -1
        self._shared: dict[int, Track] = {}
        self._aside = False
        self._counts: list[int] = []
        self._supervised = False
        self._inputs: dict[int, set[object]] = {}  # by module: the storages that calls aside were given so far
        self._votes: dict[tuple[int, str], int] = {}
        self._pairs: list[tuple[Track, Track]] = []

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        if survey is None or not survey.complete or not scene.trace.on:
            return
        if scene.row != self._row:
            self._row, self._shared, self._aside = scene.row, {}, False
        reached = {id(leaf) for leaf in survey.leaves}
        for call in scene.trace.calls:
            if any(output.reached for output in call.outputs):
                reached |= {id(p) for p in call.module.parameters(recurse=False)}
        for track in scene.tracks:
            if not reached.isdisjoint(track.parameter_ids):
                self._shared[id(track)] = track
        roots_called = [c for c in scene.trace.calls if c.depth == 0 and _has_parameters(c)]
        frozen = self._frozen_features(roots_called, scene.owned())
        self._aside = any([self._is_aside(c) for c in roots_called if id(c) not in frozen]) or self._aside
        self._counts.append(len(roots_called))
        names = {node.name() for node in survey.nodes}
        self._supervised = self._supervised or any(loss in name for name in names for loss in _LOSSES)

    @staticmethod
    def _frozen_features(calls: Sequence[Call], owned: set[int]) -> set[int]:
        """Calls of a network that nobody trains and whose output another one is given: a backbone, no target."""
        given = {g.storage for call in calls for g in call.inputs if g.storage is not None}
        return {
            id(call)
            for call in calls
            if any(o.storage in given for o in call.outputs)
            and owned.isdisjoint(id(p) for p in call.module.parameters())
        }

    def _is_aside(self, call: Call) -> bool:
        """In train mode, not in the graph of the loss, and on other inputs than before."""
        if not call.module.training or any(o.reached for o in call.outputs) or not call.outputs:
            return False
        known = self._inputs.setdefault(id(call.module), set())
        given = {g.storage for g in call.inputs if g.storage is not None}
        new = given - known
        known |= given
        return bool(new)

    def after_step(self, scene: Scene, track: Track) -> None:
        if scene.row == self._row:
            self._pairs.extend((track, other) for other in self._shared.values() if other is not track)
            if self._aside:
                self._vote(scene, track, "moving-target")
            if len(set(self._counts)) > 1 and min(self._counts) > 0 and max(self._counts) > 2 and not self._supervised:
                self._vote(scene, track, "episodes")
            if any(name in sys.modules for name in ENVIRONMENTS):
                self._vote(scene, track, "environment")
        waiting = []
        for mine, other in self._pairs:
            if other.number >= 0:
                scene.emit(SharedLoss(scene.row, mine.number, other.number))
            elif other.alive and scene.row < self._row + 1000:
                waiting.append((mine, other))  # it has not stepped yet, and has no number
        self._pairs = waiting

    def _vote(self, scene: Scene, track: Track, kind: str) -> None:
        votes = self._votes[track.number, kind] = self._votes.get((track.number, kind), 0) + 1
        if votes == ROWS:
            scene.emit(LossKind(scene.row, track.number, kind))

    def ended(self, scene: Scene, finished: bool) -> None:
        self._inputs, self._shared = {}, {}


def _has_parameters(call: Call) -> bool:
    return next(call.module.parameters(), None) is not None
