"""What the first steps tell of the loss's shape: how far they went, downhill by how much, how the gradient changed."""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np
import torch

from gradscope.facts.learning_rate import StepGeometry
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

STEPS = 20  # of each optimizer
GRADIENTS = 6  # of so many the gradients are kept until the next step


class Geometry:
    """The numbers of one step on their way: `tensor` # (4,) squares of gradient, update and change, and the descent."""

    __slots__ = ("tensor", "_scene", "_row", "_optimizer")

    def __init__(self, tensor: torch.Tensor, scene: Scene, row: int, optimizer: int) -> None:
        self.tensor: torch.Tensor | None = tensor
        self._scene, self._row, self._optimizer = scene, row, optimizer

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        gradient, update, change = (math.sqrt(v) if v >= 0 else math.nan for v in map(float, values[:3]))
        self._scene.emit(StepGeometry(self._row, self._optimizer, gradient, update, change, float(values[3])))


class FirstStepsProbe(Probe):
    """Compares weights and gradients before and after each of the first steps that are measured."""

    cost = "copies of the gradients in the first six steps; a few passes over weights and gradients in the first twenty"

    def __init__(self) -> None:
        self._weights: list[torch.Tensor] | None = None
        self._gradients: dict[int, list[torch.Tensor]] = {}  # of the step before, by the optimizer's number

    def before_step(self, scene: Scene, track: Track) -> None:
        self._weights = track.copies if track.steps < STEPS else None

    def after_step(self, scene: Scene, track: Track) -> None:
        weights, self._weights = self._weights, None
        before = self._gradients.pop(track.number, None)
        if weights is None or len(weights) != len(track.parameters):
            return
        pairs = [(p.detach(), w, p.grad.detach()) for p, w in zip(track.parameters, weights) if p.grad is not None]
        if not pairs or not all(_plain(tensor) for pair in pairs for tensor in pair):
            return
        with torch.no_grad():
            updates = [p - w for p, w, _ in pairs]
            gradients = [g for _, _, g in pairs]
            changes = None if before is None or len(before) != len(gradients) else _differences(gradients, before)
            none = torch.full_like(_dots(updates, updates), math.nan)
            parts = [
                _dots(gradients, gradients),
                _dots(updates, updates),
                none if changes is None else _dots(changes, changes),
                -_dots(gradients, updates),
            ]
            if track.steps < GRADIENTS:
                self._gradients[track.number] = [g.clone() for g in gradients]
        track.expect([Geometry(torch.stack(parts), scene, scene.row, track.number)])


def _differences(now: Sequence[torch.Tensor], before: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
    if any(a.shape != b.shape or a.device != b.device for a, b in zip(now, before)):
        return None
    return [a - b for a, b in zip(now, before)]


def _dots(ones: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> torch.Tensor:
    """The inner product over all tensors # () float32, on the device of the first."""
    dots = [torch.dot(a.reshape(-1).float(), b.reshape(-1).float()) for a, b in zip(ones, others)]
    return torch.stack([dot.to(dots[0].device) for dot in dots]).sum()


def _plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.is_floating_point() and not hasattr(tensor, "to_local")
