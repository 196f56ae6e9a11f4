"""What a fact is, and how occurrences of the same one are counted."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Iterable

MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Fact:
    """One observation of a probe at one row. Facts with the same `key` are occurrences of the same thing."""

    row: int

    def key(self) -> tuple[Any, ...]:
        """What makes two facts the same thing: all fields but the row, unless a subclass says otherwise."""
        values = (getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "row")
        return (type(self).__name__, *values)


@dataclass
class FactEntry:
    """All occurrences of one thing: first and last row, how often, the first few and the newest of them."""

    first: int
    last: int
    count: int
    examples: list[Fact] = field(default_factory=list)

    @property
    def newest(self) -> Fact:
        return self.examples[-1]


class FactLog:
    """Facts by key, in the order of first sight."""

    kept: ClassVar[int] = MAX_EXAMPLES

    def __init__(self) -> None:
        self.entries: dict[tuple[Any, ...], FactEntry] = {}
        self._by_kind: dict[type[Fact], list[FactEntry]] = {}

    def add(self, fact: Fact) -> FactEntry:
        entry = self.entries.get(fact.key())
        if entry is None:
            entry = FactEntry(fact.row, fact.row, 0)
            self.put(fact, entry)
        entry.last = max(entry.last, fact.row)
        entry.count += 1
        if len(entry.examples) >= self.kept:
            entry.examples.pop()
        entry.examples.append(fact)
        return entry

    def put(self, fact: Fact, entry: FactEntry) -> None:
        """Take in an entry, of occurrences of `fact`; in place of an earlier one of the same, where there is one."""
        key, mine = fact.key(), self._by_kind.setdefault(type(fact), [])
        if key in self.entries:
            mine.remove(self.entries[key])
        self.entries[key] = entry
        mine.append(entry)

    def copy(self) -> FactLog:
        """Another log of the same entries."""
        log = FactLog()
        log.entries = dict(self.entries)
        log._by_kind = {kind: entries.copy() for kind, entries in self._by_kind.items()}
        return log

    def of(self, kind: type[Fact]) -> list[FactEntry]:
        """The entries of this kind, in the order of first sight."""
        return self._by_kind.get(kind, []).copy()


def newest_of(entries: Iterable[FactEntry]) -> list[Any]:
    """The newest occurrence of each entry (typed loosely: the caller asked for one kind)."""
    return [entry.newest for entry in entries]
