"""Gradients in float16: whether layers are handed anything but zeroes, where no GradScaler has scaled the loss."""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.numerics import Underflow
from gradscope.hooks.lineage import is_layer, operation, weight_of
from gradscope.hooks.saved import saved
from gradscope.probes.base import Probe, Scene
from gradscope.recording.stats import UNSCALED, on_host
from gradscope.recording.track import Track

LAYERS = 64  # looked at in one backward
SMALLEST = 2.0**-24  # above zero, in float16
FAINT_SHARE, FAINT_SIZE = 0.2, 2.0  # of values that are not zero; their root mean square, in smallest numbers
LOST = 0.5  # of the squares of what a cast was given


@dataclass(slots=True, eq=False)
class _Seen:
    """What one backward handed to layers, in the order of its way.

    `tensor` # (2 * layers + 3 * casts,) is on its way.
    """

    site: Site
    layers: list[tuple[str, torch.Tensor]] = field(default_factory=list)  # name; # (2,) share and size of what is not 0
    casts: list[torch.Tensor] = field(default_factory=list)  # (3,) the same of what each made; share of squares lost
    tensor: torch.Tensor | None = None
    values: np.ndarray | None = None

    def fill(self, values: np.ndarray) -> None:
        self.tensor, self.values = None, values.astype(np.float64)


class UnderflowProbe(Probe):
    """Node prehooks on the layers that have saved something in float16, in rows that are looked at closely."""

    cost = "nothing without float16; in rows looked at closely, one pass over the gradients of such layers' outputs"

    def __init__(self) -> None:
        self._seen: _Seen | None = None
        self._waiting: list[tuple[Track, int, _Seen]] = []

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        self._say(scene)
        survey, self._seen = scene.survey(), None
        if survey is None:
            return
        layers = [node for node in survey.nodes if is_layer(node) and _is_half(node)][:LAYERS]
        if not layers:
            return
        seen = self._seen = _Seen(site)
        for node in layers:
            weight = weight_of(node)
            name = "" if weight is None else scene.names.name(weight) or ""
            node.register_prehook(functools.partial(_note_layer, seen, name))
        for node in survey.nodes:
            if operation(node) == "ToCopy" and len(seen.casts) < LAYERS:
                node.register_hook(functools.partial(_note_cast, seen))

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        seen, self._seen = self._seen, None
        mine = [track for track in reached if track.number >= 0 and track.loss_scale is UNSCALED]
        if seen is None or not seen.layers or not mine or len(mine) < len(reached):
            return
        numbers = [part.reshape(-1) for _, part in seen.layers] + [part.reshape(-1) for part in seen.casts]
        seen.tensor = torch.cat([part.to(numbers[0].device) for part in numbers])
        if on_host(seen.tensor):
            seen.fill(seen.tensor.numpy())
        else:
            mine[0].expect([seen])
        self._waiting += [(track, scene.row, seen) for track in mine]
        self._say(scene)

    def ended(self, scene: Scene, finished: bool) -> None:
        self._say(scene)

    def _say(self, scene: Scene) -> None:
        """Tell what has arrived."""
        for entry in [entry for entry in self._waiting if entry[2].values is not None]:
            self._waiting.remove(entry)
            track, row, seen = entry
            scene.emit(_told(track, row, seen))


def _is_half(node: Any) -> bool:
    return any(one.tensor is not None and one.tensor.dtype == torch.float16 for one in saved(node))


def _note_layer(seen: _Seen, name: str, given: tuple[Any, ...]) -> None:
    gradient = given[0] if given else None
    if gradient is None or gradient.dtype != torch.float16 or gradient.numel() == 0:
        return
    with torch.no_grad():
        seen.layers.append((name, _measured(gradient)))


def _measured(gradient: torch.Tensor) -> torch.Tensor:
    """The share of what is not 0, and its root mean square in smallest numbers # (2,)"""
    values = gradient.detach().float()
    some = (values != 0).float().mean()
    return torch.stack([some, (values.square().mean() / some.clamp_min(1e-12)).sqrt() / SMALLEST])


def _note_cast(seen: _Seen, made: tuple[Any, ...], given: tuple[Any, ...]) -> None:
    """The cast's output was float32, and is float16 on the way back: what is too small becomes 0."""
    before, after = (one[0] if one else None for one in (given, made))
    if before is None or after is None or (before.dtype, after.dtype) != (torch.float32, torch.float16):
        return
    if before.numel() == 0:
        return
    with torch.no_grad():
        before = before.detach().double()
        lost = (before - after.detach().double()).square().sum() / before.square().sum().clamp_min(1e-300)
        seen.casts.append(torch.cat([_measured(after), lost.float().reshape(1)]))


def _told(track: Track, row: int, seen: _Seen) -> Underflow:
    assert seen.values is not None
    shares, sizes = seen.values[: 2 * len(seen.layers)].reshape(-1, 2).T
    gone = shares == 0
    faint = ~gone & (shares <= FAINT_SHARE) & (sizes <= FAINT_SIZE)
    made, made_sizes, lost = seen.values[2 * len(seen.layers) :].reshape(-1, 3).T
    first = next((name for (name, _), hit in zip(seen.layers, gone | faint) if hit and name), "")
    there = np.concatenate([sizes[~gone], made_sizes[made > 0]])
    size = float(there.min()) if len(there) else 0.0
    casts = int((lost >= LOST).sum())
    return Underflow(
        row, track.number, len(shares), int(gone.sum()), int(faint.sum()), casts, size if math.isfinite(size) else 0.0,
        first, str(track.parameters[0].device.type) if track.parameters else "", seen.site,
    )  # fmt: skip
