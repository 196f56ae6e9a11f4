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

    def add(self, fact: Fact) -> FactEntry:
        entry = self.entries.get(fact.key())
        if entry is None:
            entry = self.entries[fact.key()] = FactEntry(fact.row, fact.row, 0)
        entry.last = max(entry.last, fact.row)
        entry.count += 1
        if len(entry.examples) >= self.kept:
            entry.examples.pop()
        entry.examples.append(fact)
        return entry

    def of(self, kind: type[Fact]) -> list[FactEntry]:
        return [e for e in self.entries.values() if isinstance(e.newest, kind)]


def newest_of(entries: Iterable[FactEntry]) -> list[Any]:
    """The newest occurrence of each entry (typed loosely: the caller asked for one kind)."""
    return [entry.newest for entry in entries]
