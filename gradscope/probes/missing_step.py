"""Optimizers that backward reaches again and again, and that do not step."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch

from gradscope.events import Site
from gradscope.facts import MissingStep
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

MIN_BACKWARDS = 100  # without a step, before anything is said while the run goes on
GAP_FACTOR = 4  # times the longest gap between two steps seen so far
_SAMPLE = 64


@dataclass
class _Waiting:
    """Backwards that reached one optimizer since its last step."""

    backwards: int = 0
    clears: int = 0
    longest_gap: int = 0
    others_stepped: int = 0
    skipped: bool = False
    site: Site | None = None
    sample: list[torch.Tensor] | None = None
    told_at: int = 0


class MissingStepProbe(Probe):
    """Counts, and compares a few values of each parameter with what they were."""

    cost = "a counter per backward; a sample of the parameters at the first and at the hundredth backward without a step"

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for track in reached:
            waiting = self._waiting.setdefault(track.number, _Waiting())
            waiting.backwards += 1
            waiting.site = site
            if waiting.sample is None and track.steps == 0 or waiting.backwards == 2:
                waiting.sample = _sample(track)
            many = max(MIN_BACKWARDS, GAP_FACTOR * waiting.longest_gap)
            if waiting.backwards > max(many, 2 * waiting.told_at):
                waiting.told_at = waiting.backwards
                self._tell(scene, track, waiting, ended=False)

    def zero_grad(self, scene: Scene, track: Track) -> None:
        if track.number in self._waiting:
            self._waiting[track.number].clears += 1

    def after_step(self, scene: Scene, track: Track) -> None:
        for number, waiting in self._waiting.items():
            if number != track.number:
                waiting.others_stepped += 1
        self._reset(track)

    def skipped_step(self, scene: Scene, track: Track) -> None:
        self._reset(track)
        self._waiting[track.number].skipped = True

    def ended(self, scene: Scene, finished: bool) -> None:
        for track in scene.tracks:
            waiting = self._waiting.get(track.number)
            if waiting is None or waiting.skipped:
                continue
            never = finished and track.steps == 0 and waiting.backwards >= 2
            if never or waiting.backwards > max(MIN_BACKWARDS, GAP_FACTOR * waiting.longest_gap):
                self._tell(scene, track, waiting, ended=True)

    def _reset(self, track: Track) -> None:
        waiting = self._waiting.setdefault(track.number, _Waiting())
        gap = max(waiting.longest_gap, waiting.backwards)
        self._waiting[track.number] = _Waiting(longest_gap=gap, skipped=waiting.skipped)

    def _tell(self, scene: Scene, track: Track, waiting: _Waiting, ended: bool) -> None:
        now = _sample(track)
        before = waiting.sample
        moved = before is not None and any(
            a.shape != b.shape or not torch.equal(a, b) for a, b in zip(before, now)
        )
        assert waiting.site is not None
        scene.emit(
            MissingStep(
                scene.row,
                track.number,
                waiting.backwards,
                waiting.longest_gap,
                track.steps,
                waiting.clears,
                waiting.others_stepped * 2 >= waiting.backwards,
                moved,
                ended,
                waiting.site,
            )
        )
        scene.trigger("missing-step")


def _sample(track: Track) -> list[torch.Tensor]:
    """A few values of each of the first parameters that have a gradient."""
    with torch.no_grad():
        reached = [p for p in track.parameters if p.grad is not None][:32]
        flat = [p.detach().reshape(-1) for p in reached]
        return [f[:: max(1, f.numel() // _SAMPLE)][:_SAMPLE].clone() for f in flat]
