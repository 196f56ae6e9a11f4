"""Models that a validation has left in eval mode, beside others of the same optimizer that are back in train mode."""
from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradscope.events import Site
from gradscope.facts.loop import EvalModeSteps
from gradscope.probes.base import Probe, Scene
from gradscope.probes.modes import layers_of
from gradscope.recording.naming import Root, variable_name
from gradscope.recording.track import Track

FIRST_TOLD = 5  # steps in a row; then each time they have doubled, and at the end
SHARE = 0.5  # of a model's parameters must be trained

Modules = weakref.WeakKeyDictionary[nn.Module, int]


@dataclass
class _Left:
    """One model of an optimizer: its newest run of steps in eval mode."""

    root: Root
    steps: int = 0
    since: int = 0
    last: int = 0
    told: int = 0
    meant: bool = False
    trained: bool = False  # steps in train mode came before
    name: str = ""
    layers: str = ""


@dataclass
class _Watched:
    """One optimizer that trains several models."""

    shape: tuple[int, int] = (-1, -1)  # how many roots and parameters there were when `models` was made
    models: list[_Left] = field(default_factory=list)
    calls: Modules = field(default_factory=weakref.WeakKeyDictionary)  # of eval(), up to its newest step
    counted: int = 0  # of all models
    steps: int = 0


class LeftInEvalProbe(Probe):
    """Counts calls of `eval()`: a validation calls it once for each model, and what is meant to stay has its own."""

    cost = "1 us a step, where one optimizer trains several models"

    def __init__(self) -> None:
        self._watched: weakref.WeakKeyDictionary[Track, _Watched] = weakref.WeakKeyDictionary()
        self._calls: Modules = weakref.WeakKeyDictionary()
        self._counted = 0
        self._row = -1
        self._training: set[int] = set()  # models in train mode at a backward of the row

    def evaluating(self, scene: Scene, module: nn.Module) -> None:
        self._calls[module] = self._calls.get(module, 0) + 1
        self._counted += 1

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        if scene.row != self._row:
            self._row = scene.row
            self._training.clear()
        if len(scene.names.roots) > 1:
            modules = (root.module() for root in scene.names.roots)
            self._training.update(id(module) for module in modules if module is not None and module.training)

    def before_step(self, scene: Scene, track: Track) -> None:
        if len(scene.names.roots) < 2:
            return
        watched = self._watched.get(track)
        if watched is None:
            watched = self._watched[track] = _Watched()
        shape = (len(scene.names.roots), len(track.parameters))
        if watched.shape != shape:
            watched.shape = shape
            _find_models(scene, track, watched)
        watched.steps += 1
        training = [left for left in watched.models if self._trains(left)]
        for left in watched.models:
            if left in training or not training:
                self._end(scene, track, watched, left)
                left.trained = left.trained or left in training
                continue
            if not left.steps:
                left.since = scene.row
                left.meant = not self._forgotten(watched, left, training)
            left.steps += 1
            left.last = scene.row
            self._tell(scene, track, watched, left)
        if watched.counted != self._counted:
            watched.calls, watched.counted = weakref.WeakKeyDictionary(self._calls), self._counted

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        """Steps like the one before them: in the same modes."""
        watched = self._watched.get(track)
        if watched is None:
            return
        watched.steps += count
        for left in watched.models:
            if left.steps:
                left.steps += count
                left.last = track.newest_row
                self._tell(scene, track, watched, left)

    def ended(self, scene: Scene, finished: bool) -> None:
        for track, watched in list(self._watched.items()):
            for left in watched.models:
                self._end(scene, track, watched, left)

    def _trains(self, left: _Left) -> bool:
        module = left.root.module()
        return module is None or module.training or id(module) in self._training

    def _forgotten(self, watched: _Watched, left: _Left, training: list[_Left]) -> bool:
        """Since the step before, `eval()` was called on it as often as on one that trains again; and it has been in
        train mode before, or its batch normalisation has never counted anything.
        """
        module = left.root.module()
        if module is None or not (left.trained or _counted_nothing(module)):
            return False
        own = self._since(watched, left)
        return own > 0 and any(self._since(watched, other) == own for other in training)

    def _since(self, watched: _Watched, left: _Left) -> int:
        module = left.root.module()
        return 0 if module is None else self._calls.get(module, 0) - watched.calls.get(module, 0)

    def _tell(self, scene: Scene, track: Track, watched: _Watched, left: _Left) -> None:
        if left.meant or left.steps < max(FIRST_TOLD, 2 * left.told):
            return
        module = left.root.module()
        layers = layers_of(module)
        if module is None or not layers or any(layer.training for layer in layers):
            left.meant = True
            return
        kinds = Counter(type(layer).__name__ for layer in layers)
        left.name = left.name or variable_name(module, scene.frame()) or left.root.label
        left.layers = ", ".join(kind if n == 1 else f"{n} x {kind}" for kind, n in kinds.items())
        self._say(scene, track, watched, left)
        scene.trigger("eval-mode")

    def _end(self, scene: Scene, track: Track, watched: _Watched, left: _Left) -> None:
        if left.told and left.told != left.steps:
            self._say(scene, track, watched, left)
        left.steps = left.told = 0

    @staticmethod
    def _say(scene: Scene, track: Track, watched: _Watched, left: _Left) -> None:
        left.told = left.steps
        row, steps = left.last, (left.steps, left.since, watched.steps)
        scene.emit(EvalModeSteps(row, track.number, left.name, left.layers, *steps, left.trained))


def _find_models(scene: Scene, track: Track, watched: _Watched) -> None:
    """The called models of which this optimizer trains at least half; what is known of them is kept."""
    known = {id(left.root): left for left in watched.models}
    watched.models = []
    for root in scene.names.roots:
        module = root.module()
        parameters = [] if module is None else list(module.parameters())
        trained = sum(p.requires_grad and id(p) in track.parameter_ids for p in parameters)
        if parameters and trained >= SHARE * len(parameters):
            watched.models.append(known.get(id(root)) or _Left(root))
    if len(watched.models) < 2:
        watched.models = []


def _counted_nothing(module: nn.Module) -> bool:
    """Whether there is batch normalisation, all as it was made."""
    norms: list[Any] = [layer for layer in layers_of(module) if issubclass(type(layer), _BatchNorm)]
    return bool(norms) and all(bool((norm.running_mean == 0).all()) for norm in norms)
