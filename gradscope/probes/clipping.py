"""Gradient clipping by torch's functions: at which line, of what, when, and how much of it is cut."""
from __future__ import annotations

import math
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Sequence

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.gradients import Clipping
from gradscope.hooks.clipping import ClipCall, can_be_seen
from gradscope.hooks.scaler import waits_for_unscaling
from gradscope.hooks.sites import UNKNOWN
from gradscope.probes.base import Probe, Scene
from gradscope.recording.stats import UNSCALED, Scale, on_host
from gradscope.recording.track import Track

FIRST_ROWS, EVERY = 64, 7  # all calls are looked at in the first rows, then in one of seven (turns go by 2, 3, 4, 5, 6)
SITES, TARGETS = 32, 8  # at most so many lines, and optimizers of each
NORMS = 256  # the newest ones
GROWTH = 1.25  # a line is told of again when its calls have grown by a quarter


class Norm:
    """A norm on its way: `tensor` # (1,)."""

    __slots__ = ("tensor", "_target")

    def __init__(self, tensor: torch.Tensor, target: Target) -> None:
        self.tensor: torch.Tensor | None = tensor.detach().reshape(1)
        self._target = target

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        self._target.take(float(values[0]))


@dataclass(slots=True, eq=False)
class Target:
    """A line and one optimizer of whose parameters it clips some (None: of no optimizer's)."""

    site: Site
    track: weakref.ref[Track] | None
    optimizer: int
    since: int
    kind: str = ""
    limit: float = math.inf
    norm_type: float = 2.0
    parameters: int = 0
    covered: int = 0
    calls: int = 0
    empty: int = 0
    spent: int = 0
    none: int = 0
    used_up: int = 0
    acted: int = 0
    idle: int = 0
    ahead: int = -1
    times: int = 0
    seen: int = 0
    cut: int = 0
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=NORMS))
    waiting: bool = False  # for the step that uses what the newest call has clipped
    ready: bool = False  # that call found gradients that no step has used, and no backward has added to them since
    backwards: int = -1  # seen in the run at that call
    next: int = 1  # to be told when there are so many calls
    scaled: int = 0
    scales: deque[Scale] = field(default_factory=lambda: deque(maxlen=NORMS))  # of these calls; some on their way

    def of(self) -> Track | None:
        return None if self.track is None else self.track()

    def take(self, norm: float) -> None:
        """The norm before the clip, of a call between backward and step."""
        if norm == norm:
            self.seen += 1
            self.cut += norm > self.limit
            self.norms.append(norm)


class ClippingProbe(Probe):
    """Follows each line that clips, by the optimizers whose parameters it is given."""

    cost = "2 us a call of clip_grad_norm_; a reading of its parameters in the first 64 rows, then in one of seven"

    def __init__(self) -> None:
        self._targets: dict[Site, list[Target]] = {}

    def before_step(self, scene: Scene, track: Track) -> None:
        if not can_be_seen():
            raise NotImplementedError("somebody has replaced torch's clip_grad_norm_")

    def clipped(self, scene: Scene, call: ClipCall) -> None:
        if scene.row >= FIRST_ROWS and scene.row % EVERY:
            return
        site = scene.site(scene.frame()) or UNKNOWN
        targets = self._targets.get(site)
        if targets is None:
            if len(self._targets) >= SITES:
                return
            targets = self._targets[site] = []
        held = frozenset(map(id, call.parameters))
        covered: list[tuple[Track | None, int]] = [
            (track, len(held & track.parameter_ids)) for track in scene.tracks if track.number >= 0
        ]
        covered = [(track, count) for track, count in covered if count]
        if not covered and held.isdisjoint(scene.owned()) and not _frozen_part(scene, call):
            covered = [(None, 0)]
        for one, count in covered:
            target = self._target(scene, targets, one, site)
            if target is not None:
                self._called(scene, target, one, call, len(call.parameters), count)

    def _called(
        self, scene: Scene, target: Target, track: Track | None, call: ClipCall, parameters: int, covered: int
    ) -> None:
        """A call that covers so many of the track's parameters."""
        total = call.total
        norm = total.item() if total is not None and on_host(total) else math.nan
        found = norm != 0 and any(p.grad is not None for p in call.parameters)
        spent = track is not None and track.newest_row == scene.row  # no backward has come since its step
        again = target.waiting and target.backwards == scene.backwards  # parameter by parameter
        target.covered = covered + again * target.covered
        target.kind, target.limit, target.norm_type = call.kind, call.limit, call.norm_type
        target.parameters, target.backwards = parameters, scene.backwards
        target.waiting, target.ready = True, found and not spent
        target.calls += 1
        target.none += not parameters
        target.used_up += call.used_up
        target.empty += bool(parameters) and not found
        target.spent += found and spent
        if target.ready and track is not None and _is_scaled(track):
            target.scaled += 1
            target.scales.append(track.loss_scale)
        if target.ready and norm == norm:
            target.take(norm)
        elif target.ready and total is not None and track is not None:
            track.expect([Norm(total, target)])
        if target.calls >= target.next:
            self._say(scene, target)

    @staticmethod
    def _target(scene: Scene, targets: list[Target], track: Track | None, site: Site) -> Target | None:
        """The line's own account of this optimizer; None where there is no room for one more."""
        for target in targets:
            if track is None and target.track is None or track is not None and target.of() is track:
                return target
        targets[:] = [t for t in targets if t.track is None or t.of() is not None]
        if len(targets) >= TARGETS:
            return None
        ref = None if track is None else weakref.ref(track)
        targets.append(Target(site, ref, -1 if track is None else track.number, scene.row))
        return targets[-1]

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for targets in self._targets.values():
            for target in targets:
                if target.waiting and target.of() in reached:
                    target.ready = False  # more has been added to what was clipped

    def after_step(self, scene: Scene, track: Track) -> None:
        for targets in self._targets.values():
            covers = any(target.of() is track for target in targets)
            for target in targets:
                if not target.waiting:
                    continue
                newest = target.ready and target.backwards == scene.backwards
                if target.of() is track:
                    target.acted, target.idle = target.acted + target.ready, target.idle + (not target.ready)
                    target.waiting = False
                elif not covers and (newest or target.track is None):
                    target.ahead, target.times = track.number, target.times + 1
                    target.idle += target.track is None
                    target.waiting = target.track is not None

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        for targets in self._targets.values():
            for target in targets:
                target.waiting = target.waiting and target.of() not in (track, None)

    def ended(self, scene: Scene, finished: bool) -> None:
        for targets in self._targets.values():
            for target in targets:
                self._say(scene, target)

    @staticmethod
    def _say(scene: Scene, target: Target) -> None:
        target.next = max(target.calls + 1, int(target.calls * GROWTH))
        track = target.of()
        known = [scale.value for scale in target.scales if scale.tensor is None]
        scales = [scale for scale in known if scale != 1]  # 1: on an accelerator, a loss that was no number
        scaled = target.scaled * len(scales) // max(1, len(known))
        low, median, high = _quantiles(target.norms)
        scene.emit(
            Clipping(
                scene.row, target.optimizer, target.kind, target.limit, target.norm_type, target.parameters,
                target.covered, 0 if track is None else len(track.parameters), target.calls, target.since,
                target.empty, target.spent, target.none, target.used_up, target.acted, target.idle, target.ahead,
                target.times, target.seen, target.cut, low, median, high, target.site,
                scaled, float(np.median(scales)) if scales else 0.0,
            )
        )  # fmt: skip


def _quantiles(norms: Sequence[float]) -> tuple[float, float, float]:
    """10 %, 50 % and 90 %; 0 where nothing is known. Some may be infinite: there is nothing between two such."""
    if not norms:
        return 0.0, 0.0, 0.0
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(norms).all() else "nearest"
    low, median, high = map(float, np.quantile(list(norms), (0.1, 0.5, 0.9), method=method))
    return low, median, high


def _is_scaled(track: Track) -> bool:
    """Whether its gradients are those of a loss that GradScaler has multiplied, and that it is to divide at its step.

    Known from the scaler's first step of the optimizer on.
    """
    scaler, optimizer = None if track.scaler is None else track.scaler(), track.optimizer()
    if scaler is None or optimizer is None or track.loss_scale is UNSCALED:
        return False
    return waits_for_unscaling(scaler, optimizer)


def _frozen_part(scene: Scene, call: ClipCall) -> bool:
    """Whether it was given parameters of which none is to be trained, of a model that is trained otherwise."""
    if not call.parameters or any(p.requires_grad for p in call.parameters):
        return False
    roots = {place.root for p in call.parameters if (place := scene.names.place(p)) is not None}
    trained = (p for track in scene.tracks for p in track.parameters if p.requires_grad)
    return any(place.root in roots for p in trained if (place := scene.names.place(p)) is not None)
