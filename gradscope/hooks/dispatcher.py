"""The one process-wide dispatcher: installs the hooks, hands their events to one listener, contains its errors."""
from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, Protocol

import torch
from torch.utils.hooks import RemovableHandle

from gradscope.events import Event, Phase
from gradscope.hooks import (
    backward,
    clipping,
    collectives,
    compiled,
    evaluation,
    loader,
    metrics,
    optimizer,
    saved,
    scaler,
    scheduler,
    seeding,
    trainers,
)
from gradscope.hooks.apart import SWITCH
from gradscope.hooks.clipping import ClipCall
from gradscope.hooks.collectives import Handed
from gradscope.hooks.compiled import HiddenHooks, Regions
from gradscope.hooks.loader import Feeds
from gradscope.hooks.patching import Patch
from gradscope.hooks.seeding import Seeds
from gradscope.hooks.sites import SiteFinder


class Listener(Protocol):
    """Who wants to know. All calls come from the training thread, in the loop's own order.

    `begin` tells whether that is all there is to do: then `end` is not called.
    """

    def begin(self, event: Event) -> bool: ...
    def end(self, event: Event) -> None: ...
    def backward_failed(self, error: BaseException, event: Event | None) -> None: ...
    def stepped(self, optimizer: torch.optim.Optimizer) -> None: ...
    def closure_returned(self, optimizer: torch.optim.Optimizer) -> None: ...
    def loss_scaled(self, scaled: Any, loss: Any) -> None: ...
    def scaler_created(self, scaler: Any) -> None: ...
    def scaler_stepped(self, scaler: Any, optimizer: torch.optim.Optimizer, ran: bool) -> None: ...
    def scheduler_stepped(self, scheduler: Any) -> None: ...
    def clipped(self, call: ClipCall) -> None: ...
    def metric_seen(self, source: str, name: Any, value: Any, scheduler: Any, frame: FrameType) -> None: ...
    def evaluating(self, module: Any) -> None: ...
    def processes_part(self) -> None: ...
    def optimizer_created(self, optimizer: torch.optim.Optimizer) -> None: ...
    def resumed(self) -> None: ...
    def failed(self, error: BaseException) -> None: ...


class Dispatcher:
    """Between torch's calls and the listener.

    A hook's exception would reach the user's loop, so `send` lets none pass: the listener is dropped and told once.
    Calls are ignored in forked children, in other threads than the first that trains, and while torch.compile traces;
    while the listener is at work torch.compile is switched off (`SWITCH`).
    `seconds` adds up the time spent in the listener. What is in `outbox` is called when a watched call of the user's
    has ended well; it may raise into the loop.
    """

    def __init__(self) -> None:
        self.sites = SiteFinder()
        self.seconds = 0.0
        self.outbox: list[Callable[[], None]] = []
        self.generation = 0  # of the hooks; those of an earlier one, left under somebody else's patch, stay inert
        self.now = 0.0  # when the call at hand came in, by time.perf_counter
        self.done: Event | None = None  # of whose end nobody needs to hear
        self.foreign_thread_calls = 0
        self.feeds = Feeds()
        self.seeds = Seeds()
        self.handed = Handed()
        self.regions = Regions()
        self._listener: Listener | None = None
        self._paused = 0
        self._forked = False
        self._thread: int | None = None
        self._backward_depth = 0
        self._patches: list[Patch] = []
        self._late: list[ModuleType] = []  # what they patch has not been imported yet
        self._handles: list[RemovableHandle] = []

    # -- life -------------------------------------------------------------------------------------------------------

    def attach(self, listener: Listener) -> None:
        """Install all hooks and send every event to `listener`, until `detach`."""
        if self._listener is not None:
            raise RuntimeError("the dispatcher serves one listener at a time")
        self.generation += 1
        self._listener, self._forked, self._thread = listener, False, None
        self._backward_depth = 0
        self.seconds, self.foreign_thread_calls = 0.0, 0
        rooms = (backward, optimizer, saved, scaler, scheduler, clipping, loader, metrics, evaluation, seeding)
        for room in rooms:
            self._patches += room.patches(self)
        self.handed = Handed()
        self._handles = optimizer.step_hooks(self)
        self.regions = Regions()
        self.regions.curtains.append(HiddenHooks(self.regions, self._handles))
        self._late = [compiled, metrics, collectives, trainers]
        self.patch_late()

    def patch_late(self) -> None:
        """Patch what has been imported meanwhile; to be called now and then."""
        for room in list(self._late) if self._listener is not None else ():
            if found := room.late_patches(self):
                self._patches += found
                self._late.remove(room)

    def detach(self) -> None:
        """Undo everything, last first. The first error is raised when all the rest has been undone."""
        self._listener, self._late, self.done = None, [], None
        failed: Exception | None = None
        for undo in [*(handle.remove for handle in self._handles), *(p.undo for p in reversed(self._patches))]:
            try:
                undo()
            except Exception as error:
                failed = failed or error
        self._handles, self._patches = [], []
        if failed is not None:
            raise failed

    def drop(self) -> None:
        """Send nothing more. The hooks stay where they are until `detach`: torch may be iterating over them."""
        self._listener = self.done = None

    def pause(self) -> None:
        self._paused += 1

    def resume(self) -> None:
        self._paused -= 1

    # -- the hooks' side --------------------------------------------------------------------------------------------

    def listening(self, generation: int, trains: bool = False, aside: bool = False) -> bool:
        """Whether a call made now, through a hook of this `generation`, is to be watched.

        The first thread that `trains` (calls backward or step) is the one that is watched. `aside`: in another thread
        the call is none to be told of, either.
        """
        if generation != self.generation or self._listener is None or self._paused:
            return False
        if self._forked or torch.compiler.is_compiling():
            return False
        thread = threading.get_ident()
        if self._thread is None:
            if trains:
                self._thread = thread
        elif thread != self._thread:
            self.foreign_thread_calls += not aside
            return False
        return True

    def hears(self, generation: int) -> bool:
        """The same for calls that are none of the loop's own: one in another thread is nothing to count."""
        if generation != self.generation or self._listener is None or self._paused or self._forked:
            return False
        return self._thread in (None, threading.get_ident())

    def begin(self, phase: Phase, subject: Any, plain: bool = True) -> Event | None:
        """A call of the user's begins. Hand what comes back to `end`; None where nobody listens any more."""
        start = self.now = time.perf_counter()
        compiler = SWITCH(None)
        try:
            if self._listener is None:
                return None
            event = Event(phase, subject, self.sites.find(sys._getframe(2)), plain)
            if self._listener.begin(event) and phase is not Phase.STEP:
                self.done = event
            return event
        except Exception as error:
            self._give_up(error)
            return None
        finally:
            SWITCH(compiler)
            self.seconds += time.perf_counter() - start

    def end(self, event: Event | None) -> None:
        """The call that `begin` announced is over."""
        if event is not None and event is not self.done:
            self.send("end", event)
        self.done = None
        if self.outbox and sys.exc_info()[0] is None:  # an exception on its way is not to be replaced
            self.deliver()

    def send(self, call: str, *arguments: Any) -> None:
        """Call the listener's method `call`."""
        if self._listener is None:
            return
        start = self.now = time.perf_counter()
        compiler = SWITCH(None)
        try:
            getattr(self._listener, call)(*arguments)
        except Exception as error:
            self._give_up(error)
        finally:
            SWITCH(compiler)
            self.seconds += time.perf_counter() - start

    def contain(self, action: Callable[[], None]) -> None:
        """Something to be done in a hook for which the listener is not asked: what it takes counts, what it raises is
        handled as if the listener had failed.
        """
        start = time.perf_counter()
        compiler = SWITCH(None)
        try:
            action()
        except Exception as error:
            self._give_up(error)
        finally:
            SWITCH(compiler)
            self.seconds += time.perf_counter() - start

    def deliver(self) -> None:
        """Call what is in the outbox, each once; the first warning that the user's filter makes an error ends it."""
        compiler = SWITCH(None)
        try:
            while self.outbox:
                try:
                    self.outbox.pop(0)()
                except Warning:
                    raise
                except Exception as error:
                    self._give_up(error)
        finally:
            SWITCH(compiler)

    def _give_up(self, error: Exception) -> None:
        """The listener has failed: drop it and tell it why."""
        listener, self._listener = self._listener, None
        with contextlib.suppress(Exception):
            if listener is not None:
                listener.failed(error)

    def _in_forked_child(self) -> None:
        self._forked = True

    def spend(self, seconds: float) -> None:
        """Time of ours that was spent outside of the listener: in the hooks of modules."""
        self.seconds += seconds

    def spent(self) -> float:
        """Seconds spent in the listener so far, those of the call at hand included. For the listener to ask."""
        return self.seconds + time.perf_counter() - self.now

    def enter_backward(self) -> bool:
        """True for the outermost of nested backwards (reentrant checkpointing runs inner ones)."""
        self._backward_depth += 1
        return self._backward_depth == 1

    def leave_backward(self) -> None:
        self._backward_depth -= 1


DISPATCHER = Dispatcher()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DISPATCHER._in_forked_child)
