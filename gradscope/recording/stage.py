"""The stage that probes look at: the row at hand, its graph and module calls, and where their Facts go."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch

from gradscope.events import Site
from gradscope.facts.fact import Fact, FactLog
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.forward import ForwardTrace
from gradscope.hooks.graph import Survey, survey
from gradscope.probes.base import FAR, Probe
from gradscope.recording.naming import Names
from gradscope.recording.roster import Roster
from gradscope.recording.track import Track

CLOSE_ROWS = 4  # module calls and graphs are looked at in the first rows, then again on a trigger,
ALWAYS_ROWS, ALWAYS_EVERY = 64, 4  # after so many rows, one in four of those that are as rows should be
CLOSE_BACKWARDS = 32  # and not in more backwards than these: some loops never step, or only after many


class Stage:
    """The probes' Scene, and the one who tells them what happens.

    `blind` takes what could not be seen, and why: module calls, or a probe that failed.
    """

    def __init__(self, probes: Sequence[Probe], roster: Roster, blind: dict[str, str]) -> None:
        self.row = 0
        self.backwards = 0
        self.names = Names()
        self.facts = FactLog()
        self.trace = ForwardTrace(
            lambda: DISPATCHER.listening(DISPATCHER.generation),
            self._failed,
            DISPATCHER.spend,
            lambda: DISPATCHER.seeds.entered(),
        )
        self.triggers: set[str] = set()
        self.draw: Callable[[str, float, int, int], None] | None = None  # where the curves of ranks go
        self._probes, self._roster, self._blind = list(probes), roster, blind
        self._moments, self._always = _moments(self._probes), _moments(self._probes, always=True)
        self._roots: tuple[torch.Tensor, ...] = ()
        self._survey: Survey | None = None
        self._close_until = CLOSE_ROWS
        self._close_backwards = CLOSE_BACKWARDS

    # -- what probes ask --------------------------------------------------------------------------------------------

    @property
    def tracks(self) -> Sequence[Track]:
        return self._roster.living()

    def owned(self) -> set[int]:
        return self._roster.owned()

    def survey(self) -> Survey | None:
        if self._survey is None and self._roots and self._close:
            self._survey = survey(self._roots)
        return self._survey

    def frame(self) -> FrameType | None:
        return DISPATCHER.sites.frame()

    def site(self, frame: FrameType | None) -> Site | None:
        return None if frame is None else DISPATCHER.sites.find(frame)

    def emit(self, fact: Fact) -> None:
        self.facts.add(fact)

    def unseen(self, what: str, why: str) -> None:
        self._blind[what] = why

    def curve(self, name: str, value: float, row: int, optimizer: int) -> None:
        if self.draw is not None:
            self.draw(name, value, row, optimizer)

    def next_step(self, track: Track) -> int:
        """The first step of the optimizer that some probe must be told of, whatever it is like."""
        return min((probe.next_step(track) for probe in self._moments["next_step"]), default=track.steps + FAR)

    def trigger(self, why: str) -> None:
        self.triggers.add(why)

    @property
    def calm(self) -> bool:
        """Nothing is looked at closely."""
        return not (self._close or self.trace.on)

    @property
    def _close(self) -> bool:
        return self.row < self._close_until and self.backwards <= self._close_backwards

    # -- what the recorder does with it -----------------------------------------------------------------------------

    def look_closely(self) -> None:
        """Watch module calls and graphs in this row and the next two."""
        self._close_until = max(self._close_until, self.row + 3)
        self._close_backwards = max(self._close_backwards, self.backwards + CLOSE_BACKWARDS)
        self.trace.start()

    def backward_begins(self, roots: tuple[torch.Tensor, ...]) -> None:
        """The graph of `roots` is alive; the modules called since the last backward are known by name from now on."""
        self.backwards += 1
        if not self._close and self.trace.on:
            self.trace.stop()
        if self.trace.blind:
            self._blind["module calls"] = self.trace.blind
        self._roots, self._survey = roots, None
        if self.trace.on or self.trace.called:
            for module in self.trace.roots():
                self.names.add_root(module, self.frame())

    def backward_ended(self) -> None:
        """Let go of the graph and of the module calls."""
        self._roots, self._survey = (), None
        if self.trace.on or self.trace.called:
            self.trace.clear()

    def tell(self, moment: str, *arguments: Any) -> None:
        """Tell every probe that has something to do at this moment. One that raises is told nothing more."""
        self._tell(self._moments.get(moment, ()), moment, arguments)

    def tell_always(self, moment: str, *arguments: Any) -> None:
        """In a row as nearly all are: tell the probes that ask for this moment even then, if in one of four."""
        if self.row < ALWAYS_ROWS or self.backwards % ALWAYS_EVERY == 0:
            self._tell(self._always.get(moment, ()), moment, arguments)

    def _tell(self, probes: Sequence[Probe], moment: str, arguments: tuple[Any, ...]) -> None:
        for probe in probes:
            try:
                getattr(probe, moment)(self, *arguments)
            except Exception as error:
                self._probes.remove(probe)
                self._moments, self._always = _moments(self._probes), _moments(self._probes, always=True)
                self._failed(error, type(probe).__name__)

    def _failed(self, error: BaseException, name: str = "module calls") -> None:
        self._blind[name] = f"it failed at step {self.row}: {type(error).__name__}: {error}"


def _moments(probes: Sequence[Probe], always: bool = False) -> dict[str, tuple[Probe, ...]]:
    """Which probes have something to do at which moment; `always`: in rows as nearly all are, too."""
    names = [name for name, member in vars(Probe).items() if callable(member) and not name.startswith("_")]
    told = {n: [p for p in probes if getattr(type(p), n) is not getattr(Probe, n)] for n in names}
    return {n: tuple(p for p in found if not always or n in p.always) for n, found in told.items()}
