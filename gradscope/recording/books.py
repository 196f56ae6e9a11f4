"""The books: one table an optimizer, call sites by number, and how finished rows get into them."""
from __future__ import annotations

from collections import deque
from typing import Any, Protocol, Sequence

from gradscope.events import Site
from gradscope.record.record import Array, Parameter, Wiring
from gradscope.record.table import SCALARS, OptimizerTable
from gradscope.recording.finishing import FullRow, PlainRows, loss_of
from gradscope.recording.ledger import Contribution
from gradscope.recording.memory import share_memory
from gradscope.recording.metrics import MetricSink
from gradscope.recording.roster import Roster
from gradscope.recording.stats import Transfer
from gradscope.recording.track import Track

_TRIGGERS = (Wiring.ALL_MISSING, Wiring.OLD_INSIDE, Wiring.CLEARED)
_WIRING = SCALARS.index("wiring")

MAX_TABLES = 64


class Sink(MetricSink, Protocol):
    """Where finished rows go besides the tables: the run folder."""

    def described(self, table: OptimizerTable) -> None: ...

    def rows(
        self, table: OptimizerTable, columns: dict[str, Array], measured: Sequence[tuple[int, dict[str, Any]]]
    ) -> None: ...


class Books:
    """Reads out what waits, replays it, and enters the rows that come of it, within `memory` bytes."""

    def __init__(self, roster: Roster, sink: Sink, memory: int) -> None:
        self.sites: list[Site] = []
        self._roster, self._sink, self._memory = roster, sink, memory
        self._tables: dict[int, OptimizerTable] = {}
        self._waiting: deque[tuple[Transfer, list[tuple[Track, list[Any]]], int]] = deque()  # for their numbers
        self._site_numbers: dict[Site, int] = {}
        self._site_by_id: dict[int, tuple[Site, int]] = {}  # faster; SiteFinder gives the same Site again
        self._courses: dict[tuple[int, str], int] = {}
        self._open: list[tuple[OptimizerTable, int, Array]] = []  # entered for the row at hand: their joint losses
        self._together: dict[int, dict[int, Contribution]] = {}  # by row: the backwards that its steps used

    def site(self, site: Site) -> int:
        """The site's number."""
        known = self._site_by_id.get(id(site))
        if known is not None and known[0] is site:
            return known[1]
        number = self._site_numbers.setdefault(site, len(self.sites))
        if number == len(self.sites):
            self.sites.append(site)
        self._site_by_id[id(site)] = site, number
        return number

    def course(self, site: int, kind: str) -> int:
        """The number of the course that losses of this kind, from this line, make together."""
        return self._courses.setdefault((site, kind), len(self._courses))

    def tables(self) -> list[OptimizerTable]:
        """The tables of all optimizers that have stepped, in order."""
        return [self._tables[number] for number in sorted(self._tables)]

    def finish(self, current: int, wait: bool = False) -> set[str]:
        """Enter all rows that are finished; `current` is the row at hand. Returns what should make the rules run.

        Rows whose numbers have not arrived yet are entered by a later call, unless this one is to wait for them.
        """
        tracks = self._roster.tracks
        triggers: set[str] = set()
        transfer = Transfer([numbers for track in tracks for numbers in track.pending()])
        self._waiting.append((transfer, [(track, track.take_operations()) for track in tracks], current))
        while self._waiting and (wait or self._waiting[0][0].arrived()):
            transfer, operations, then = self._waiting.popleft()
            transfer.fill()
            triggers |= self._finish([(t, found) for t, waiting in operations if (found := t.replay(waiting))], then)
        return triggers

    def _finish(self, finished: Sequence[tuple[Track, list[FullRow | PlainRows]]], current: int) -> set[str]:
        triggers: set[str] = set()
        joint = self._joint([item for _, items in finished for item in items], len(finished) > 1, current)
        for track, items in finished:
            triggers |= self._enter(track, items, joint, current)
        self._amend(current)
        return triggers

    def _joint(self, items: Sequence[FullRow | PlainRows], several: bool, current: int) -> dict[int, float] | None:
        """The loss of each row over all its backwards; None where one optimizer alone has stepped."""
        several = several or bool(self._together)
        for item in items:
            for row, contributions in item.backwards():
                if several or row == current:
                    self._together.setdefault(row, {}).update({c.number: c for c in contributions})
        joint = {row: loss_of(list(used.values())) for row, used in self._together.items()} if several else None
        self._together = {row: used for row, used in self._together.items() if row == current}
        return joint

    def _enter(
        self, track: Track, items: Sequence[FullRow | PlainRows], joint: dict[int, float] | None, current: int
    ) -> set[str]:
        """Rows of one optimizer; returns what should make the rules run."""
        triggers: set[str] = set()
        scalars: list[tuple[Any, ...]] = []
        measured: list[tuple[int, dict[str, Any]]] = []
        for item in items:
            if track.table is None or not track.table.fits(item.parameters, item.groups):
                self._enter_rows(track, scalars, measured)
                self._describe(track, item.parameters, item.groups)
                scalars, measured = [], []
            assert track.table is not None
            item.count(track.table)
            rows, arrays = item.scalars(joint), item.arrays()
            if arrays is not None:
                measured.append((len(scalars), arrays))
            scalars += rows
            if isinstance(item, FullRow):
                triggers |= {f"{bit.name}:{track.number}" for bit in _TRIGGERS if rows[0][_WIRING] & bit}
        columns = self._enter_rows(track, scalars, measured)
        if scalars and scalars[-1][0] == current and track.table is not None:
            self._open.append((track.table, current, columns["joint_loss"]))
        return triggers

    def _enter_rows(
        self, track: Track, scalars: list[tuple[Any, ...]], measured: Sequence[tuple[int, dict[str, Any]]]
    ) -> dict[str, Array]:
        if not scalars or track.table is None:
            return {}
        columns = track.table.extend(scalars, [arrays for _, arrays in measured])
        self._sink.rows(track.table, columns, measured)
        return columns

    def _amend(self, current: int) -> None:
        """Rows entered while their row was still open (somebody read the record) get the losses that came later."""
        self._open = [entry for entry in self._open if entry[1] == current]
        for table, _, known in self._open:
            joint = loss_of(list(self._together[current].values()))
            if joint != known[-1] and not (joint != joint and known[-1] != known[-1]):
                table.amend(joint)
                known[-1] = joint

    def forget_the_dead(self) -> None:
        """Loops that make an optimizer per task leave thousands behind: of those, the healthy oldest ones go."""
        if len(self._tables) <= MAX_TABLES:
            return
        living = {track.number for track in self._roster.tracks}
        dead = [n for n in sorted(self._tables) if n not in living and _healthy(self._tables[n])]
        for number in dead[: len(self._tables) - MAX_TABLES // 2]:
            del self._tables[number]

    def _describe(self, track: Track, parameters: tuple[Parameter, ...], groups: int) -> None:
        """A table for the optimizer, or room in it for parameters and groups that are new."""
        table = track.table
        if table is None:
            variable = track.variable or "optimizer"
            table = track.table = OptimizerTable(track.number, track.kind, parameters, groups, variable)
        else:
            table.widen(parameters, groups)
        self._tables[track.number] = table
        if len(self._tables) & (len(self._tables) - 1) == 0:  # each time their number has doubled
            share_memory(list(self._tables.values()), self._memory)
        self._sink.described(table)


def _healthy(table: OptimizerTable) -> bool:
    """No rule has a reason to look at it again."""
    return not any(table.counters[name].any() for name in ("old", "missing", "cleared"))
