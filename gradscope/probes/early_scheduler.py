"""Schedulers that step before their optimizer has ever stepped."""
from __future__ import annotations

import weakref
from dataclasses import dataclass

from torch.amp.grad_scaler import GradScaler
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, ReduceLROnPlateau

from gradscope.events import Site
from gradscope.facts.loop import EarlySchedulerStep
from gradscope.hooks.scheduler import CAN_BE_SEEN, scheduler_call
from gradscope.hooks.sites import UNKNOWN
from gradscope.probes.base import Probe, Scene
from gradscope.recording.naming import variable_name
from gradscope.recording.track import Track


@dataclass
class _Early:
    """What came before the optimizer's first step. It is told once the same line steps the scheduler again."""

    site: Site
    scheduler: str
    lr: float
    backwards: int  # seen before the call
    again: bool = False  # a second call before the first step


class EarlySchedulerProbe(Probe):
    """Follows each optimizer until its first step has told in which order the two are called."""

    cost = "1 us a scheduler.step(); a walk up the stack for the first two of them"

    def __init__(self) -> None:
        self._early: weakref.WeakKeyDictionary[Track, _Early] = weakref.WeakKeyDictionary()

    def scheduler_stepped(self, scene: Scene, track: Track, scheduler: object) -> None:
        if track.order_known:
            return
        early = self._early.get(track)
        call = scheduler_call()
        if call is None or call.explicit or isinstance(scheduler, (CosineAnnealingWarmRestarts, ReduceLROnPlateau)):
            track.order_known = True
            return
        site = scene.site(call.frame) or UNKNOWN
        if early is not None and not track.steps:
            # Chained schedulers step one after the other, in one call.
            early.again = early.again or scene.backwards != early.backwards or site != early.site
            if not early.again and _count(scheduler) > 2:
                early.again = True
        elif early is not None:
            if site == early.site and not early.again:
                scene.emit(
                    EarlySchedulerStep(scene.row, track.number, early.scheduler, early.lr, track.steps, early.site)
                )
                scene.trigger("early-scheduler")
            track.order_known = True
        elif _fresh(track, scheduler):
            name = variable_name(call.scheduler, call.frame) or "scheduler"
            self._early[track] = _Early(site, name, track.learning_rates()[0], scene.backwards)
        else:
            track.order_known = True

    def before_step(self, scene: Scene, track: Track) -> None:
        if not CAN_BE_SEEN:
            raise NotImplementedError("the schedulers of this torch cannot be watched")
        if track.steps or track.order_known:
            return
        early = self._early.get(track)
        if early is None:
            track.order_known = True
        elif early.backwards and scene.backwards > early.backwards:
            track.order_known = True  # a batch went by on which it was not to step: accumulation, a guard, a turn

    def skipped_step(self, scene: Scene, track: Track, scaler: GradScaler) -> None:
        track.order_known = True


def _count(scheduler: object) -> int:
    return int(getattr(scheduler, "_step_count", 0))


def _fresh(track: Track, scheduler: object) -> bool:
    """Neither scheduler nor optimizer has been used or loaded, and the lr that is skipped is not 0."""
    optimizer = track.optimizer()
    if track.steps or any(getattr(optimizer, name, None) for name in ("state", "_opt_called")):
        return False
    return getattr(scheduler, "last_epoch", 0) == 0 and any(rate != 0 for rate in track.learning_rates())
