"""What the mean squared error is of a model that knows nothing but the mean: the variance of the targets."""
from __future__ import annotations

from typing import Any, Iterable, Sequence

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.operations import TargetSpread
from gradscope.hooks.lineage import operation
from gradscope.hooks.saved import saved
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_MEAN = 1  # torch's number for reduction="mean"
_LEAST = 8  # samples


class Spread:
    """The variance on its way from the device."""

    __slots__ = ("tensor", "_scene", "_row", "_optimizer")

    def __init__(self, tensor: torch.Tensor, scene: Scene, row: int, optimizer: int) -> None:
        self.tensor: torch.Tensor | None = tensor
        self._scene, self._row, self._optimizer = scene, row, optimizer

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        self._scene.emit(TargetSpread(self._row, self._optimizer, float(values[0])))


class TargetSpreadProbe(Probe):
    """Reads the targets that MSELoss has saved, where it is all that a loss is made of."""

    cost = "a glance at each node of the graphs of the first rows, and one pass over the targets"

    def __init__(self) -> None:
        self._variance: torch.Tensor | None = None

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._variance = None
        if survey is not None and len(roots) == 1 and operation(roots[0].grad_fn) == "MseLoss":
            self._variance = variance(survey.nodes)

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        if self._variance is not None and len(reached) == 1:
            track = reached[0]
            track.expect([Spread(self._variance.reshape(1), scene, scene.row, track.number)])
        self._variance = None


def variance(nodes: Iterable[Any]) -> torch.Tensor | None:
    """Of the targets # (), each output by itself; None where there is not one mean squared error in the graph."""
    losses = [node for node in nodes if operation(node) == "MseLoss"]
    if len(losses) != 1 or getattr(losses[0], "_saved_reduction", 0) != _MEAN:
        return None
    target = next((one.tensor for one in saved(losses[0]) if one.name == "target"), None)
    if target is None or target.dim() == 0 or target.shape[0] < _LEAST or target.requires_grad:
        return None
    with torch.no_grad():
        return target.detach().float().reshape(len(target), -1).var(dim=0).mean()
