"""Models that are trained while they are in eval mode."""
from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import Sequence

import torch
from torch import nn

from gradscope.events import Site
from gradscope.facts.loop import EvalModeSteps
from gradscope.probes.base import Probe, Scene
from gradscope.probes.modes import layers_of
from gradscope.recording.naming import Root, variable_name
from gradscope.recording.track import Track

FIRST_TOLD = 5  # steps in a row; then each time they have doubled, and at the end
MAX_WATCHED = 64  # optimizers, before those that are gone are forgotten
SHARE = 0.5  # of a model's parameters must be trained: of a head on a frozen model, eval mode is meant


@dataclass
class _Watched:
    """One optimizer: the models it trains, and its newest run of steps in eval mode."""

    shape: tuple[int, int] = (-1, -1)  # how many roots and parameters there were when `models` was made
    models: list[weakref.ref[nn.Module]] = field(default_factory=list)  # all that hold a parameter of it
    own: list[Root] = field(default_factory=list)  # those of them to be told of here, with layers that care
    steps: int = 0  # made in all
    evaluating: int = 0  # made in eval mode, in a row, up to now
    since: int = 0
    last: int = 0
    told: int = 0
    trained: bool = False  # steps in train mode came before
    optimizer: int = -1  # its number, and what is told of the model: they outlive it
    model: str = ""
    layers: str = ""


class EvalModeProbe(Probe):
    """Reads `training` of the models that the loop calls, at each backward and at each step."""

    cost = "1 us a step; a walk through the modules where the models or the parameters have changed"

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}  # by the optimizer's number
        self._open: dict[int, _Watched] = {}  # by the optimizer's number: told of, and not in train mode since
        self._trained: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # models that some step found in train mode
        self._row = -1
        self._training: set[int] = set()  # models in train mode at a backward of the row

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        if scene.row != self._row:
            self._row = scene.row
            self._training.clear()
        for root in scene.names.roots:
            module = root.module()
            if module is not None and module.training:
                self._training.add(id(module))

    def before_step(self, scene: Scene, track: Track) -> None:
        watched = self._watched.get(track.number)
        if watched is None:
            watched = self._begin(scene, track)
        watched.steps += 1
        shape = (len(scene.names.roots), len(track.parameters))
        if watched.shape != shape or watched.steps & (watched.steps - 1) == 0:
            watched.shape = shape
            _find_models(scene, track, watched)
            self._trained.update(m for ref in watched.models if (m := ref()) is not None and m.training)
        if not watched.own:
            return
        if any(self._trains(ref()) for ref in watched.models):
            if watched.told:
                self._say(scene, self._open.pop(track.number))
            watched.trained = True
            watched.evaluating = watched.told = 0
            return
        watched.evaluating += 1
        if watched.evaluating == 1:
            watched.since = scene.row
        watched.last = scene.row
        if watched.evaluating >= max(FIRST_TOLD, 2 * watched.told):
            self._tell(scene, track, watched)

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        """Steps like the one before them: in the same modes."""
        watched = self._watched.get(track.number)
        if watched is None:
            return
        watched.steps += count
        if watched.evaluating:
            watched.evaluating += count
            watched.last = track.newest_row
            if watched.evaluating >= max(FIRST_TOLD, 2 * watched.told):
                self._tell(scene, track, watched)

    def _begin(self, scene: Scene, track: Track) -> _Watched:
        if len(self._watched) >= MAX_WATCHED:  # loops that make an optimizer per task
            living = {other.number for other in scene.tracks}
            self._watched = {number: watched for number, watched in self._watched.items() if number in living}
        watched = self._watched[track.number] = _Watched()
        return watched

    def ended(self, scene: Scene, finished: bool) -> None:
        for watched in self._open.values():
            self._say(scene, watched)

    def _trains(self, module: nn.Module | None) -> bool:
        return module is None or module.training or id(module) in self._training

    def _tell(self, scene: Scene, track: Track, watched: _Watched) -> None:
        layers = [layer for root in watched.own for layer in layers_of(root.module())]
        if not layers or any(layer.training for layer in layers) or self._adapts(watched):
            watched.evaluating = watched.told = 0  # somebody has chosen what evaluates
            self._open.pop(track.number, None)
            return
        kinds = Counter(type(layer).__name__ for layer in layers)
        label = next((root.label for root in watched.own if root.label), "model")
        watched.optimizer, watched.told = track.number, watched.evaluating
        watched.model = watched.model or variable_name(watched.own[0].module(), scene.frame()) or label
        watched.layers = ", ".join(kind if n == 1 else f"{n} x {kind}" for kind, n in kinds.items())
        self._open[track.number] = watched
        self._say(scene, watched)
        scene.trigger("eval-mode")

    def _adapts(self, watched: _Watched) -> bool:
        """A copy is fitted to a task in eval mode, while the model of its kind is trained in train mode."""
        own = [module for root in watched.own if (module := root.module()) is not None]
        kinds = {type(module) for module in self._trained}
        watched.trained = watched.trained or any(module in self._trained for module in own)
        return not watched.trained and any(type(module) in kinds for module in own)

    def _say(self, scene: Scene, watched: _Watched) -> None:
        scene.emit(
            EvalModeSteps(
                watched.last,
                watched.optimizer,
                watched.model,
                watched.layers,
                watched.evaluating,
                watched.since,
                watched.steps,
                watched.trained,
            )
        )


def _find_models(scene: Scene, track: Track, watched: _Watched) -> None:
    """The called models that hold a trainable parameter of the optimizer.

    A model is told of where at least half of it is trained, once: by the optimizer that holds most of it.
    """
    watched.models, watched.own = [], []
    for root in scene.names.roots:
        module = root.module()
        if module is None:
            continue
        parameters = list(module.parameters())
        trained = {id(p) for p in parameters if p.requires_grad}
        shares = [(len(trained & other.parameter_ids), other is track) for other in scene.tracks]
        mine = next((share for share, own in shares if own), 0)
        if not mine:
            continue
        watched.models.append(root.module)
        most = max(range(len(shares)), key=lambda i: shares[i][0])
        enough = sum(share for share, _ in shares) >= SHARE * len(parameters)
        if enough and shares[most][1] and layers_of(module):
            watched.own.append(root)
