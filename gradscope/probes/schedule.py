"""The learning-rate schedulers in use: which, set to what, and how often they are stepped."""
from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.learning_rate import Schedule
from gradscope.hooks.scheduler import scheduler_call
from gradscope.hooks.sites import UNKNOWN
from gradscope.probes.base import Probe, Scene
from gradscope.recording.naming import variable_name
from gradscope.recording.track import Track

_SETTINGS = (
    "step_size", "gamma", "milestones", "T_max", "T_0", "T_mult", "eta_min", "total_iters", "total_steps", "power",
    "factor", "start_factor", "end_factor", "step_size_up", "patience",
)  # fmt: skip
_MILESTONES = 16


@dataclass(slots=True)
class _Used:
    """One scheduler. Those inside a chain or a sequence count by themselves, under the line that steps the chain."""

    variable: str
    site: Site
    explicit: bool
    steps: int  # of the optimizer before the first call
    calls: int = 0


class ScheduleProbe(Probe):
    """Counts the calls of each scheduler, and tells of it each time they have doubled."""

    cost = "0.5 us a scheduler.step(); a walk up the stack for the first one"

    def __init__(self) -> None:
        self._used: weakref.WeakKeyDictionary[object, _Used] = weakref.WeakKeyDictionary()

    def scheduler_stepped(self, scene: Scene, track: Track, scheduler: object) -> None:
        used = self._used.get(scheduler)
        if used is None:
            used = self._used[scheduler] = self._first(scene, track)
        used.calls += 1
        if used.calls & (used.calls - 1) == 0 and track.number >= 0:
            self._say(scene, track, scheduler, used)

    def ended(self, scene: Scene, finished: bool) -> None:
        tracks = {id(optimizer): track for track in scene.tracks if (optimizer := track.optimizer()) is not None}
        for scheduler, used in list(self._used.items()):
            track = tracks.get(id(getattr(scheduler, "optimizer", None)))
            if track is not None and track.number >= 0:
                self._say(scene, track, scheduler, used)

    @staticmethod
    def _first(scene: Scene, track: Track) -> _Used:
        call = scheduler_call()
        if call is None:  # a subclass of the user's own, with a step of its own
            return _Used("scheduler", scene.site(scene.frame()) or UNKNOWN, False, track.steps)
        name = variable_name(call.scheduler, call.frame) or "scheduler"
        return _Used(name, scene.site(call.frame) or UNKNOWN, call.explicit, track.steps)

    @staticmethod
    def _say(scene: Scene, track: Track, scheduler: object, used: _Used) -> None:
        values = ((name, _plain(getattr(scheduler, name, None))) for name in _SETTINGS)
        settings = {name: value for name, value in values if value is not None}
        kind, steps = type(scheduler).__name__, track.steps - used.steps
        scene.emit(
            Schedule(
                scene.row, track.number, kind, used.variable, used.calls, steps, used.explicit, settings, used.site
            )
        )


def _plain(value: Any) -> Any:
    """A number, or the numbers that a Counter of milestones holds; None for the rest."""
    if isinstance(value, Mapping):
        return sorted(value)[:_MILESTONES]
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
