"""Weights in low precision: how many of their values a step leaves as they are, to the bit."""
from __future__ import annotations

import math
import weakref
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from gradscope.facts.numerics import LostUpdates
from gradscope.probes.base import Probe, Scene
from gradscope.recording.stats import on_host
from gradscope.recording.track import Track

LOW = ("bfloat16", "float16")
VALUES = 64  # looked at in each weight
WEIGHTS = 128  # of an optimizer, spread over it
GROWTH = 1.125  # a look each time the steps have grown by an eighth
LOOKS = 8  # the newest ones tell


class _Counts:
    """Of one look, on its way: `tensor` # (4,) compared, stayed, spacing, size."""

    __slots__ = ("tensor", "_looks")

    def __init__(self, tensor: torch.Tensor, looks: deque[tuple[float, ...]]) -> None:
        self.tensor: torch.Tensor | None = tensor
        self._looks = looks

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        self._looks.append(tuple(map(float, values)))


@dataclass(slots=True, eq=False)
class _Followed:
    """An optimizer with such weights."""

    weights: list[int]  # their positions
    dtype: str
    epsilon: float  # from 1 to the next number
    device: str
    next: int = 0  # a number of steps
    before: torch.Tensor | None = None  # values before the step at hand,
    moving: torch.Tensor | None = None  # and which of them have a gradient
    looks: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=LOOKS))


class LostUpdatesProbe(Probe):
    """Compares a few values of each weight matrix before and after a step, in few steps.

    Vectors count where an optimizer has no matrix: beside matrices they are biases and gains, and matter less.
    """

    cost = "nothing for weights in float32; else 20 us a weight, each time the steps have grown by an eighth"

    def __init__(self) -> None:
        self._of: weakref.WeakKeyDictionary[Track, _Followed | None] = weakref.WeakKeyDictionary()

    def before_step(self, scene: Scene, track: Track) -> None:
        if track not in self._of:
            self._of[track] = _followed(track)
        mine = self._of[track]
        if mine is None or track.steps < mine.next or track.by_closure or max(track.learning_rates(), default=0) <= 0:
            return
        mine.next = max(track.steps + 1, int(track.steps * GROWTH))
        parameters = [track.parameters[i] for i in mine.weights if i < len(track.parameters)]
        there = [p for p in parameters if p.grad is not None and p.grad.layout == torch.strided]
        if there:
            with torch.no_grad():
                mine.before = torch.cat([_few(p) for p in there])
                moving = [_few(p.grad) != 0 if p.grad is not None else _few(p) > 0 for p in there]
                mine.moving = torch.cat([one.to(mine.before.device) for one in moving])

    def after_step(self, scene: Scene, track: Track) -> None:
        mine = self._of.get(track)
        if mine is None or mine.before is None or mine.moving is None:
            return
        before, moving = mine.before, mine.moving
        mine.before = mine.moving = None
        parameters = [track.parameters[i] for i in mine.weights if i < len(track.parameters)]
        there = [p for p in parameters if p.grad is not None and p.grad.layout == torch.strided]
        with torch.no_grad():
            after = torch.cat([_few(p) for p in there])
            if after.shape != before.shape:
                return
            counts = _Counts(_counted(before, after, moving, mine.epsilon), mine.looks)
        assert counts.tensor is not None
        if on_host(counts.tensor):
            counts.fill(counts.tensor.numpy())
        else:
            track.expect([counts])
        self._say(scene, track, mine)

    def ended(self, scene: Scene, finished: bool) -> None:
        for track, mine in self._of.items():
            if mine is not None:
                self._say(scene, track, mine)

    @staticmethod
    def _say(scene: Scene, track: Track, mine: _Followed) -> None:
        looks = [look for look in mine.looks if all(map(math.isfinite, look))]
        if track.number < 0 or not looks:
            return
        compared, stayed = (int(sum(look[i] for look in looks)) for i in (0, 1))
        scene.emit(
            LostUpdates(
                scene.row, track.number, mine.dtype, len(mine.weights), len(track.parameters), len(looks), compared,
                stayed, looks[-1][2], looks[-1][3], mine.device,
            )
        )  # fmt: skip


def _followed(track: Track) -> _Followed | None:
    """The weights in low precision; None where there are none."""
    least = 2 if any(p.dim() > 1 for p in track.parameters) else 0
    kinds = [str(p.dtype).removeprefix("torch.") for p in track.parameters]
    low = [
        i
        for i, (p, kind) in enumerate(zip(track.parameters, kinds))
        if kind in LOW and p.dim() >= least and p.layout == torch.strided and not hasattr(p, "to_local")
    ]
    if not low:
        return None
    first = track.parameters[low[0]]
    low = [i for i in low if (track.parameters[i].device, track.parameters[i].dtype) == (first.device, first.dtype)]
    epsilon = float(torch.finfo(first.dtype).eps)
    return _Followed(low[:: -(-len(low) // WEIGHTS)], kinds[low[0]], epsilon, first.device.type)


def _few(tensor: torch.Tensor) -> torch.Tensor:
    """A few of its values, spread over it # (up to VALUES,); a copy."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // VALUES)][:VALUES].float()


def _counted(before: torch.Tensor, after: torch.Tensor, moving: torch.Tensor, epsilon: float) -> torch.Tensor:
    """How many values were to move, and stayed; the spacing of the numbers there, and their size # (4,) on its device.

    Nothing is selected by a mask: that would wait for an accelerator.
    """
    moving = moving & torch.isfinite(before) & torch.isfinite(after)
    stayed = moving & (before == after)
    size = torch.where(moving, before.abs(), torch.nan).nanmedian()
    spacing = epsilon * torch.exp2(torch.floor(torch.log2(size.clamp_min(1e-30))))
    return torch.stack([moving.sum().float(), stayed.sum().float(), spacing, size])
