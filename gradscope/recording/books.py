"""The books: one table an optimizer, call sites by number, and how finished rows get into them."""
from __future__ import annotations

from typing import Any, Protocol

from gradscope.events import Site
from gradscope.record.record import Wiring
from gradscope.record.table import OptimizerTable
from gradscope.recording.finishing import StepNotes, columns_of, count, loss_of, plain_scalars
from gradscope.recording.ledger import Contribution
from gradscope.recording.memory import share_memory
from gradscope.recording.roster import Roster
from gradscope.recording.stats import read_out
from gradscope.recording.track import Track

_TRIGGERS = (Wiring.ALL_MISSING, Wiring.OLD_INSIDE, Wiring.CLEARED)


MAX_TABLES = 64


class Sink(Protocol):
    """Where finished rows go besides the tables: the run folder."""

    def described(self, table: OptimizerTable) -> None: ...
    def row(self, table: OptimizerTable, scalars: dict[str, Any], arrays: dict[str, Any] | None) -> None: ...


class Books:
    """Reads out what waits, replays it, and enters the rows that come of it, within `memory` bytes."""

    def __init__(self, roster: Roster, sink: Sink, memory: int) -> None:
        self.sites: list[Site] = []
        self._roster, self._sink, self._memory = roster, sink, memory
        self._tables: dict[int, OptimizerTable] = {}
        self._site_numbers: dict[Site, int] = {}
        self._courses: dict[tuple[int, str], int] = {}
        self._open: list[tuple[OptimizerTable, dict[str, Any]]] = []  # entered rows of the row at hand
        self._together: dict[int, dict[int, Contribution]] = {}  # by row: the backwards that its steps used

    def site(self, site: Site) -> int:
        """The site's number."""
        number = self._site_numbers.get(site)
        if number is None:
            number = self._site_numbers[site] = len(self.sites)
            self.sites.append(site)
        return number

    def course(self, site: int, kind: str) -> int:
        """The number of the course that losses of this kind, from this line, make together."""
        return self._courses.setdefault((site, kind), len(self._courses))

    def tables(self) -> list[OptimizerTable]:
        """The tables of all optimizers that have stepped, in order."""
        return [self._tables[number] for number in sorted(self._tables)]

    def finish(self, current: int) -> set[str]:
        """Enter all rows that are finished; `current` is the row at hand. Returns what should make the rules run."""
        tracks, triggers, together = self._roster.tracks, set(), self._together
        read_out([numbers for track in tracks for numbers in track.pending()])
        finished = [(track, row, notes) for track in tracks for row, notes in track.replay()]
        for _, row, notes in finished:
            mine = (row,) if isinstance(row, Contribution) else row.contributions
            together.setdefault(notes.row, {}).update({c.number: c for c in mine})
        for track, row, notes in finished:
            table = self._table(track, notes)
            joint = list(together[notes.row].values())
            arrays: dict[str, Any] | None = None
            if isinstance(row, Contribution):
                scalars = {**plain_scalars(notes, row), "joint_loss": loss_of(joint)}
                table.append_plain(scalars)
            else:
                scalars, arrays = columns_of(row, notes, joint)
                count(table, row, notes)
                table.append(scalars, arrays)
                triggers |= {f"{bit.name}:{track.number}" for bit in _TRIGGERS if scalars["wiring"] & bit}
            self._sink.row(table, scalars, arrays)
            if notes.row == current:
                self._open.append((table, scalars))
        self._together = {row: losses for row, losses in together.items() if row == current}
        self._amend(current)
        return triggers

    def _amend(self, current: int) -> None:
        """Rows entered while their row was still open (somebody read the record) get the losses that came later."""
        self._open = [(table, scalars) for table, scalars in self._open if scalars["row"] == current]
        for table, scalars in self._open:
            scalars["joint_loss"] = loss_of(list(self._together[current].values()))
            table.amend(scalars["joint_loss"])

    def forget_the_dead(self) -> None:
        """Loops that make an optimizer per task leave thousands behind: of those, the healthy oldest ones go."""
        if len(self._tables) <= MAX_TABLES:
            return
        living = {track.number for track in self._roster.tracks}
        dead = [n for n in sorted(self._tables) if n not in living and _healthy(self._tables[n])]
        for number in dead[: len(self._tables) - MAX_TABLES // 2]:
            del self._tables[number]

    def _table(self, track: Track, notes: StepNotes) -> OptimizerTable:
        table = track.table
        if table is None:
            variable = track.variable or "optimizer"
            table = track.table = OptimizerTable(track.number, track.kind, notes.columns, len(notes.lr), variable)
        elif len(table.parameters) != len(notes.columns) or table.groups != len(notes.lr):
            table.widen(notes.columns, len(notes.lr))
        else:
            return table
        self._tables[track.number] = table
        if len(self._tables) & (len(self._tables) - 1) == 0:  # each time their number has doubled
            share_memory(list(self._tables.values()), self._memory)
        self._sink.described(table)
        return table


def _healthy(table: OptimizerTable) -> bool:
    """No rule has a reason to look at it again."""
    table.settle()
    return not any(table.counters[name].any() for name in ("old", "missing", "cleared"))
