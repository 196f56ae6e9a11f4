"""Steps that GradScaler skips: how many, in a row and lately, and at which scale."""
from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.amp.grad_scaler import GradScaler

from gradscope.events import Site
from gradscope.facts.numerics import LossScaling
from gradscope.hooks.scaler import scale_of
from gradscope.hooks.sites import UNKNOWN
from gradscope.probes.base import Probe, Scene
from gradscope.recording.stats import on_host
from gradscope.recording.track import Track

LEAST = 8  # skipped steps, before anything is said
GROWTH = 1.25  # and again when they have grown by a quarter
WINDOW = 128  # the newest steps asked for
SETTLING = 16  # steps that a scale which fits the first batch needs to fit the others


class _ScaleCell:
    """A scale on its way: `tensor` # (1,)."""

    __slots__ = ("tensor", "_skips")

    def __init__(self, tensor: torch.Tensor, skips: _Skips) -> None:
        self.tensor: torch.Tensor | None = tensor
        self._skips = skips

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        self._skips.scale = float(values[0])
        self._skips.first_scale = self._skips.first_scale or self._skips.scale


@dataclass(slots=True, eq=False)
class _Skips:
    """Those of one optimizer."""

    skipped: int = 0
    streak: int = 0
    since: int = 0
    steps: int = 0  # that had run at the newest skip
    settled: int = 0  # the step asked for that was the first to run
    late: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))  # which asked for; row
    first_scale: float = 0.0
    scale: float = 0.0
    scaler: weakref.ref[GradScaler] | None = None
    scalers: int = 0
    interval: int = 0
    backwards: int = 0  # seen in the run at the newest skip
    seen: int = 0
    not_finite: int = 0
    site: Site = UNKNOWN
    made: Site | None = None
    next: int = LEAST

    @property
    def asked(self) -> int:
        return self.steps + self.skipped


class LossScalingProbe(Probe):
    """Counts skipped steps; the scale is read with the other numbers, never waited for."""

    cost = "nothing where no step is skipped; 10 us for each that is"

    def __init__(self) -> None:
        self._of: weakref.WeakKeyDictionary[Track, _Skips] = weakref.WeakKeyDictionary()
        self._made: weakref.WeakKeyDictionary[GradScaler, Site] = weakref.WeakKeyDictionary()
        self._not_finite = -1  # the newest backward whose loss was no number

    def scaler_created(self, scene: Scene, scaler: GradScaler) -> None:
        site = scene.site(scene.frame())
        if site is not None:
            self._made[scaler] = site

    def loss_not_finite(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        self._not_finite = scene.backwards

    def skipped_step(self, scene: Scene, track: Track, scaler: GradScaler) -> None:
        if track.number < 0:
            return
        skips = self._of.setdefault(track, _Skips())
        self._count(scene, track, skips)
        if skips.scaler is None or skips.scaler() is not scaler:
            skips.scaler, skips.scalers = weakref.ref(scaler), skips.scalers + 1
            skips.made, skips.interval = self._made.get(scaler), scaler.get_growth_interval()
        scale = scale_of(scaler)
        if scale is not None and on_host(scale):
            _ScaleCell(scale, skips).fill(scale.numpy())
        elif scale is not None:
            track.expect([_ScaleCell(scale, skips)])
        if skips.skipped >= skips.next:
            skips.next = max(skips.skipped + 1, int(skips.skipped * GROWTH))
            skips.site = scene.site(scene.frame()) or UNKNOWN
            self._say(scene, track, skips)
            scene.trigger(f"GradScaler has skipped {skips.skipped} steps of optimizer {track.number}")

    def _count(self, scene: Scene, track: Track, skips: _Skips) -> None:
        if not skips.skipped or track.steps != skips.steps:
            skips.streak, skips.since = 0, scene.row
        if track.steps and not skips.settled:
            skips.settled = skips.skipped + 1
        skips.steps, skips.skipped, skips.streak = track.steps, skips.skipped + 1, skips.streak + 1
        if skips.settled and skips.asked > skips.settled + SETTLING:
            skips.late.append((skips.asked, scene.row))
        if all(on_host(p) for p in track.parameters[:1]):
            first = max(skips.backwards, scene.backwards - max(1, track.seen)) + 1
            skips.seen, skips.not_finite = skips.seen + 1, skips.not_finite + (self._not_finite >= first)
        skips.backwards = scene.backwards

    def ended(self, scene: Scene, finished: bool) -> None:
        for track, skips in self._of.items():
            if skips.skipped >= LEAST:
                skips.steps = track.steps
                self._say(scene, track, skips)

    @staticmethod
    def _say(scene: Scene, track: Track, skips: _Skips) -> None:
        late = [row for asked, row in skips.late if asked > skips.asked - WINDOW]
        scene.emit(
            LossScaling(
                scene.row, track.number, skips.skipped, track.steps, skips.streak, skips.since, len(late),
                min(WINDOW, skips.asked), late[0] if late else skips.since, skips.first_scale, skips.scale,
                skips.scalers, skips.interval, skips.seen, skips.not_finite, skips.site, skips.made,
            )
        )  # fmt: skip
