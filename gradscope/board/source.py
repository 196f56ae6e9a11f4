"""One run folder, opened: its record and findings, read again where there is more on disk."""
from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.board.axis import usable
from gradscope.board.lines import Place, tree_order
from gradscope.board.measured import measured_steps
from gradscope.board.runs import FILES
from gradscope.errors import UsageError
from gradscope.findings import Finding, from_line
from gradscope.record.reader import read_findings, read_record
from gradscope.record.record import Array, Record, Stream

MOST_OPEN = 4
Fold = Callable[[Sequence[Finding]], Sequence[Finding]]


@dataclass
class Opened:
    """A run as it was on disk at `revision`."""

    record: Record
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    revision: str
    _orders: dict[int, list[Place]] = field(default_factory=dict)

    def stream(self, number: int | None) -> Stream:
        """A stream by its number, the first one for None; UsageError where there is none."""
        streams = self.record.streams
        if number is None and streams:
            return streams[0]
        for stream in streams:
            if stream.number == number:
                return stream
        raise UsageError(f"there is no stream {number}" if streams else "no optimizer step was seen in this run")

    def order(self, stream: Stream) -> list[Place]:
        """The stream's parameters in tree order."""
        if stream.number not in self._orders:
            self._orders[stream.number] = tree_order(stream.optimizers)
        return self._orders[stream.number]

    def steps(self, stream: Stream) -> Array:
        """The steps of a stream that the record still holds."""
        return usable(np.asarray(stream.rows))

    def measured(self, stream: Stream) -> Array:
        """Those of them that were measured."""
        return measured_steps(stream)


class Source:
    """A run folder; one thread at a time reads it."""

    def __init__(self, folder: Path, fold: Fold) -> None:
        self._folder, self._fold = folder, fold
        self._lock = threading.RLock()
        self._opened: Opened | None = None

    def open(self) -> Opened:
        """What is on disk now. DamagedRecord where it is no record."""
        with self._lock:
            revision = revision_of(self._folder)
            if self._opened is None or self._opened.revision != revision:
                record = read_record(self._folder)
                findings, notes = stored_findings(self._folder, self._fold)
                self._opened = Opened(record, findings, notes, revision)
            return self._opened

    def changed(self) -> float:
        """When the folder's files were last written, in seconds."""
        times = []
        for name in FILES:
            try:
                times.append((self._folder / name).stat().st_mtime)
            except OSError:
                continue
        return max(times, default=0.0)


class Sources:
    """The folders that were asked for last stay open."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._lock = threading.Lock()
        self._sources: OrderedDict[Path, Source] = OrderedDict()

    def of(self, folder: Path) -> Source:
        with self._lock:
            source = self._sources.pop(folder, None) or Source(folder, self._fold)
            self._sources[folder] = source
            while len(self._sources) > MOST_OPEN:
                self._sources.popitem(last=False)
            return source


def stored_findings(folder: Path, fold: Fold) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings on disk, causes first, and what is to be said of them."""
    found, damaged = [], 0
    for line in read_findings(folder):
        try:
            found.append(from_line(line))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            damaged += 1
    said = {0: (), 1: ("a damaged finding was left out",)}.get(damaged, (f"{damaged} damaged findings were left out",))
    return tuple(fold(found)), said


def revision_of(folder: Path) -> str:
    """Another one when there is more on disk."""
    parts: list[Any] = []
    for name in FILES:
        try:
            known = (folder / name).stat()
            parts += [known.st_size, known.st_mtime_ns]
        except OSError:
            parts.append(None)
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
