"""Run folders kept open: what is new on disk is read when somebody asks, and nothing twice."""
from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.board.axis import usable
from gradscope.board.lines import Place, tree_order
from gradscope.board.measured import measured_steps
from gradscope.findings import Finding, from_line
from gradscope.record.record import Array, Record, Stream
from gradscope.record.run_file import RunFile
from gradscope.record.stored_columns import ColumnCache

MOST_OPEN = 3
CACHE = 512 << 20  # bytes of columns kept, of all together
Fold = Callable[[Sequence[Finding]], Sequence[Finding]]  # into order, causes first


@dataclass
class Opened:
    """A run as it was on disk at `revision`. Its arrays are read when they are asked for, by one thread at a time."""

    record: Record
    folder: Path
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    revision: str
    _orders: dict[int, list[Place]] = field(default_factory=dict)

    def order(self, stream: Stream) -> list[Place]:
        """The stream's parameters in tree order."""
        if stream.number not in self._orders:
            self._orders[stream.number] = tree_order(stream.optimizers)
        return self._orders[stream.number]

    def steps(self, stream: Stream) -> Array:
        """The steps of a stream that the record still holds."""
        return usable(np.asarray(stream.rows))

    def measured(self, stream: Stream) -> Array:
        """Those at which any of its optimizers was measured."""
        return measured_steps(stream)


class Source:
    """A run folder."""

    def __init__(self, folder: Path, fold: Fold, cache: ColumnCache) -> None:
        self._folder, self._fold, self._cache = folder, fold, cache
        self._lock = threading.Lock()
        self._file: RunFile | None = None
        self._opened: Opened | None = None

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """What is on disk now; nobody else reads meanwhile. DamagedRecord where it is no record."""
        with self._lock:
            if self._file is None:
                self._file = RunFile(self._folder, self._cache)
            else:
                self._file.refresh()
            if self._opened is None or self._opened.revision != self._file.revision:
                self._opened = None  # if the next line fails
                findings, notes = read_findings(self._file.findings, self._fold)
                self._opened = Opened(self._file.record, self._folder, findings, notes, self._file.revision)
            yield self._opened

    def close(self) -> None:
        """Let go of what is kept of it, once nobody reads."""
        with self._lock:
            file, self._file, self._opened = self._file, None, None
            if file is not None:
                file.close()


class Sources:
    """The folders that were asked for last stay open."""

    def __init__(self, fold: Fold, most: int = MOST_OPEN) -> None:
        self._fold, self._cache, self._most = fold, ColumnCache(CACHE), most
        self._lock = threading.Lock()
        self._sources: OrderedDict[Path, Source] = OrderedDict()

    def of(self, folder: Path) -> Source:
        with self._lock:
            source = self._sources.pop(folder, None) or Source(folder, self._fold, self._cache)
            self._sources[folder] = source
            beyond = max(0, len(self._sources) - self._most)
            dropped = [self._sources.popitem(last=False)[1] for _ in range(beyond)]
        for one in dropped:
            one.close()
        return source


def read_findings(lines: Sequence[dict[str, Any]], fold: Fold) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The stored findings, causes first, and what is to be said of them."""
    found, damaged = [], 0
    for line in lines:
        try:
            found.append(from_line(line))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            damaged += 1
    if not damaged:
        return tuple(fold(found)), ()
    return tuple(fold(found)), (f"{damaged} damaged finding{'s were' if damaged > 1 else ' was'} left out",)
