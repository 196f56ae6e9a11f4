"""Losses that are not meant to fall: adversarial ones, and those of reinforcement learning."""
from __future__ import annotations

import sys
from typing import Any, Sequence

import torch
from torch import nn

from gradscope.events import Site
from gradscope.facts.loss import LossKind, SharedLoss
from gradscope.hooks.forward import Call
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

ENVIRONMENTS = ("gymnasium", "gym", "pettingzoo", "stable_baselines3", "dm_env", "ale_py", "procgen", "torchrl")
_COMBINING = ("AddBackward", "SubBackward", "MulBackward", "DivBackward", "NegBackward", "MeanBackward", "SumBackward")
ROWS = 3  # in so many of the rows that are looked at closely, before anything is said
_RATIO = {"ExpBackward", "MinimumBackward", "ClampBackward"}  # PPO: the smaller of a ratio and the clipped ratio
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
        self._reached: set[int] = set()
        self._policy = self._weighted = False
        self._weights: tuple[float, ...] = ()
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
            self._row, self._shared, self._aside, self._reached = scene.row, {}, False, set()
        reached = {id(leaf) for leaf in survey.leaves}
        for call in scene.trace.calls:
            if any(output.reached for output in call.outputs):
                reached |= {id(p) for p in call.module.parameters(recurse=False)}
        self._reached |= reached
        for track in scene.tracks:
            if not reached.isdisjoint(track.parameter_ids):
                self._shared[id(track)] = track
        roots_called = [c for c in scene.trace.calls if c.depth == 0 and _has_parameters(c)]
        frozen = self._frozen_features(roots_called, scene.owned())
        trained = [c.module for c in roots_called if any(o.reached for o in c.outputs)]
        self._aside = any([self._is_aside(c, trained) for c in roots_called if id(c) not in frozen]) or self._aside
        self._counts.append(sum(c.training or any(o.reached for o in c.outputs) for c in roots_called))
        names = {node.name().rstrip("0123456789") for node in survey.nodes}
        self._policy = self._policy or _RATIO <= names
        self._compare_weights(scene, roots)
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

    def _compare_weights(self, scene: Scene, roots: Sequence[torch.Tensor]) -> None:
        """Do the constants that the terms of the loss are multiplied by change from one look to the next?"""
        weights = constants(roots[0].grad_fn) if len(roots) == 1 else ()
        if weights and len(weights) == len(self._weights):
            if any(not 0.8 <= abs(now) / max(abs(then), 1e-12) <= 1.25 for now, then in zip(weights, self._weights)):
                self._weighted = True
        self._weights = weights

    def _is_aside(self, call: Call, trained: Sequence[nn.Module]) -> bool:
        """Not in the graph of the loss, on other inputs than before; in eval mode, only a copy of what is trained."""
        if any(o.reached for o in call.outputs) or not call.outputs:
            return False
        if not call.module.training and not any(_is_copy(call.module, module) for module in trained):
            return False
        known = self._inputs.setdefault(id(call.module), set())
        given = {(g.storage, g.offset) for g in call.inputs if g.storage is not None}
        new = given - known
        known |= given
        return bool(new)

    def after_step(self, scene: Scene, track: Track) -> None:
        if scene.row == self._row:
            others = [other for other in self._shared.values() if other is not track]
            # Two optimizers of the same parameters (a second phase) share their loss; only foreign ones tell of a game.
            self._pairs.extend((track, o) for o in others if (o.parameter_ids - track.parameter_ids) & self._reached)
            if self._aside:
                self._vote(scene, track, "moving-target")
            if self._policy:
                self._vote(scene, track, "policy")
            if self._weighted:
                scene.emit(LossKind(scene.row, track.number, "changing-weights"))
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


def constants(node: Any, depth: int = 6) -> tuple[float, ...]:
    """The plain numbers by which the terms of a loss are multiplied, near its root, in the order of a walk.

    torch keeps them with its nodes: a product's other factor as a 0-dim tensor, a sum's alpha as a number.
    """
    found: list[float] = []
    level = [node]
    for _ in range(depth):
        following: list[Any] = []
        for one in level:
            if one is None or not one.name().startswith(_COMBINING):
                continue
            for name in ("_saved_other", "_saved_alpha"):
                value = getattr(one, name, None)
                if isinstance(value, torch.Tensor):
                    value = value.tolist() if _is_plain_number(value) else None  # item() fails in a dispatch mode
                if isinstance(value, (int, float)):
                    found.append(float(value))
            following.extend(after for after, _ in one.next_functions)
        level = following[:32]
    return tuple(found)


def _is_plain_number(value: torch.Tensor) -> bool:
    """torch wraps Python's numbers as float64 scalars on the CPU; GradScaler's scale, say, is float32."""
    return value.dim() == 0 and value.dtype == torch.float64 and not value.requires_grad and value.device.type == "cpu"


def _is_copy(module: nn.Module, of: nn.Module) -> bool:
    """Another module of the same class and shapes."""
    if module is of or type(module) is not type(of):
        return False
    return [p.shape for p in module.parameters()] == [p.shape for p in of.parameters()]


def _has_parameters(call: Call) -> bool:
    return next(call.module.parameters(), None) is not None
