"""What a mean squared error costs that knows nothing but the mean of its targets: their variance."""
from __future__ import annotations

from typing import Any, Iterable, Sequence

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.loss import ConstantGuess
from gradscope.hooks.lineage import operation
from gradscope.hooks.saved import saved
from gradscope.probes.arrivals import Arrivals, readable
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_MEAN, _SUM = 1, 2  # torch's numbers for reduction=
_LEAST = 8  # samples
_BATCHES = 8


class ConstantGuessProbe(Probe):
    """Reads the targets that MSELoss has saved, where it is all that a loss is made of."""

    cost = "a glance at each node of the graphs of the first rows, and one pass over the targets of eight of them"

    def __init__(self) -> None:
        self._guess: torch.Tensor | None = None
        self._batches = 0

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._guess = None
        if survey is not None and self._batches < _BATCHES and len(roots) == 1:
            if operation(roots[0].grad_fn) == "MseLoss":
                self._guess = constant_guess(survey.nodes)

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        guess, self._guess = self._guess, None
        track = next((track for track in reached if track.number >= 0), None)
        if guess is None or track is None:
            return
        row, number = scene.row, track.number
        self._batches += 1

        def made(values: np.ndarray) -> None:
            scene.emit(ConstantGuess(row, number, float(values[0])))

        track.expect([Arrivals([guess], made)])


def constant_guess(nodes: Iterable[Any]) -> torch.Tensor | None:
    """Each output by itself guessed # (); None where there is not one mean squared error in the graph."""
    losses = [node for node in nodes if operation(node) == "MseLoss"]
    reduction = getattr(losses[0], "_saved_reduction", 0) if len(losses) == 1 else 0
    if reduction not in (_MEAN, _SUM):
        return None
    target = next((one.tensor for one in saved(losses[0]) if one.name == "target"), None)
    if target is None or not readable(target) or target.dim() == 0 or len(target) < _LEAST or target.requires_grad:
        return None
    with torch.no_grad():
        variances = target.detach().float().reshape(len(target), -1).var(dim=0)
        return variances.mean() if reduction == _MEAN else variances.sum() * len(target)
