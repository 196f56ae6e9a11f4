"""Optimizers that backward reaches again and again, and that do not step."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch.amp.grad_scaler import GradScaler

from gradscope.events import Site
from gradscope.facts.loop import MissingStep
from gradscope.probes.base import Probe, Scene, sample
from gradscope.recording.track import Track

MIN_BACKWARDS = 100  # without a step, before anything is said while the run goes on
MAX_WAITING = 64  # optimizers, before those that are gone are forgotten
GAP_FACTOR = 4  # times the longest gap between two steps seen so far


@dataclass
class _Waiting:
    """Backwards that reached one optimizer since its last step. Outlives the optimizer."""

    optimizer: int
    steps: int = 0
    backwards: int = 0
    clears: int = 0
    found_cleared: int = 0  # before a backward, by whomever: model.zero_grad(), say
    longest_gap: int = 0
    others_stepped: int = 0
    skipped: bool = False
    moved: bool = False
    evaluating: bool = False
    site: Site | None = None
    sample: list[torch.Tensor] | None = None
    compare_at: int = 2
    told_at: int = 0
    stepped_on: frozenset[Site] = frozenset()  # lines of the backwards that steps have followed


class MissingStepProbe(Probe):
    """Counts, and compares a few values of each parameter with what they were."""

    cost = "a counter per backward; a sample of the parameters each time the backwards without a step have doubled"

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        for track in scene.tracks:
            waiting = self._waiting.get(track.number)
            if waiting is not None and waiting.steps == 0 and waiting.backwards:
                first = next((p for p in track.parameters if p.requires_grad), None)
                waiting.found_cleared += first is not None and first.grad is None

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for track in reached:
            waiting = self._of(track)
            if waiting.stepped_on and site not in waiting.stepped_on:
                continue  # another phase: gradients for their own sake
            waiting.backwards += 1
            waiting.site = site
            if waiting.backwards >= waiting.compare_at:
                waiting.compare_at *= 2
                waiting.evaluating = _evaluating(scene)
                self._compare(track, waiting)
            many = max(MIN_BACKWARDS, GAP_FACTOR * waiting.longest_gap)
            if waiting.backwards > max(many, 2 * waiting.told_at):
                waiting.told_at = waiting.backwards
                self._compare(track, waiting)
                self._tell(scene, waiting, ended=False)

    def zero_grad(self, scene: Scene, track: Track) -> None:
        self._of(track).clears += 1

    def after_step(self, scene: Scene, track: Track) -> None:
        self._forget_the_dead(scene)
        for number, waiting in self._waiting.items():
            if number != track.number:
                waiting.others_stepped += 1
        self._reset(track)

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        self._reset(track)

    def skipped_step(self, scene: Scene, track: Track, scaler: GradScaler) -> None:
        self._reset(track)
        self._of(track).skipped = True

    def ended(self, scene: Scene, finished: bool) -> None:
        for track in scene.tracks:
            self._compare(track, self._of(track))
        for waiting in self._waiting.values():
            never = finished and waiting.steps == 0 and waiting.backwards >= 2
            if not waiting.skipped and (
                never or waiting.backwards > max(MIN_BACKWARDS, GAP_FACTOR * waiting.longest_gap)
            ):
                self._tell(scene, waiting, ended=True)

    def _forget_the_dead(self, scene: Scene) -> None:
        """Optimizers that stepped and are gone have nothing more to answer for (loops that make one per task)."""
        if len(self._waiting) > MAX_WAITING:
            living = {track.number for track in scene.tracks}
            self._waiting = {n: w for n, w in self._waiting.items() if n in living or w.steps == 0}

    def _of(self, track: Track) -> _Waiting:
        return self._waiting.setdefault(track.number, _Waiting(track.number))

    def _reset(self, track: Track) -> None:
        old = self._of(track)
        gap = max(old.longest_gap, old.backwards)
        sites = old.stepped_on if old.site is None else old.stepped_on | {old.site}
        new = self._waiting[track.number] = _Waiting(track.number, track.steps, stepped_on=sites)
        new.longest_gap, new.compare_at, new.skipped = gap, max(2, 2 * gap), old.skipped

    def _compare(self, track: Track, waiting: _Waiting) -> None:
        now = _samples(track)
        if waiting.sample is None:
            waiting.sample = now
        elif now and any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(waiting.sample, now)):
            waiting.moved = True

    def _tell(self, scene: Scene, waiting: _Waiting, ended: bool) -> None:
        assert waiting.site is not None
        scene.emit(
            MissingStep(
                scene.row,
                waiting.optimizer,
                waiting.backwards,
                waiting.longest_gap,
                waiting.steps,
                max(waiting.clears, waiting.found_cleared) if ended else waiting.clears,
                waiting.others_stepped * 2 >= waiting.backwards,
                waiting.moved,
                ended,
                waiting.evaluating,
                waiting.site,
            )
        )
        scene.trigger("missing-step")


def _evaluating(scene: Scene) -> bool:
    modules = (root.module() for root in scene.names.roots)
    return any(module is not None and not module.training for module in modules)


def _samples(track: Track) -> list[torch.Tensor]:
    """A few values of each of the first parameters that take a gradient."""
    return [sample(p) for p in [p for p in track.parameters if p.requires_grad][:32]]
