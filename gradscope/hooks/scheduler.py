"""SCHEDULER: steps of learning-rate schedulers, seen from inside them.

Their `step` itself stays as it is: torch warns from there about the caller's line (`stacklevel=2`), and a wrapper would
put our file into the user's warnings. So what is replaced is the name `_enable_get_lr_call` of torch's module: `step`
enters that context once it has warned, and before it changes the learning rate. ReduceLROnPlateau does not enter it;
of that one the method is replaced that lowers the learning rate.
"""
from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable

from torch.optim import lr_scheduler

from gradscope.hooks.patching import Patch
from gradscope.hooks.sites import variables

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_NAME = "_enable_get_lr_call"
_LOWER = "_reduce_lr"
_FILE = lr_scheduler.LRScheduler.step.__code__.co_filename
_MAX_FRAMES = 80
CAN_BE_SEEN = hasattr(lr_scheduler, _NAME)


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """The context that a scheduler's `step` enters; none where this torch has no such thing."""

    mine = dispatcher.generation

    def enter(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original, updated=())
        def wrapper(scheduler: Any) -> Any:
            # 1: the step that a scheduler's own constructor makes
            if getattr(scheduler, "_step_count", 0) > 1 and dispatcher.listening(mine):
                dispatcher.send("scheduler_stepped", scheduler)
            return original(scheduler)

        return wrapper

    def lower(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original, updated=())
        def wrapper(scheduler: Any, *arguments: Any, **named: Any) -> Any:
            if dispatcher.listening(mine):
                dispatcher.send("scheduler_stepped", scheduler)
            return original(scheduler, *arguments, **named)

        return wrapper

    found = [Patch(lr_scheduler, _NAME, enter)] if CAN_BE_SEEN else []
    plateau = lr_scheduler.ReduceLROnPlateau
    return [*found, Patch(plateau, _LOWER, lower)] if hasattr(plateau, _LOWER) else found


@dataclass(frozen=True)
class SchedulerCall:
    """The user's call behind a scheduler's step: `scheduler` is the one called, which may step others inside it."""

    scheduler: Any
    explicit: bool  # an epoch was given
    frame: FrameType | None  # that of the caller


def scheduler_call() -> SchedulerCall | None:
    """The call at hand, read off the stack; None where no scheduler's step is on it."""
    frame: FrameType | None = sys._getframe(1)
    outermost: FrameType | None = None
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name == "step" and frame.f_code.co_filename == _FILE:
            outermost = frame
        frame = frame.f_back
    if outermost is None:
        return None
    given = dict(variables(outermost))
    scheduler, caller = given.get("self"), outermost.f_back
    while caller is not None and caller.f_code.co_name == "step" and dict(variables(caller)).get("self") is scheduler:
        caller = caller.f_back  # a user's subclass that calls super().step()
    return SchedulerCall(scheduler, given.get("epoch") is not None, caller)
