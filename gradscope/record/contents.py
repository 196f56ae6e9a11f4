"""What the lines of a run folder's index say, taken in one after the other; and the Record as of the newest of them."""
from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import Any, Mapping, Sequence

import numpy as np

from gradscope.errors import DamagedRecord
from gradscope.events import Site
from gradscope.facts.catalogue import from_json
from gradscope.facts.fact import FactEntry, FactLog
from gradscope.record.blocks import Blocks, from_columns
from gradscope.record.data_file import Chunk, DataFile, chunk_of
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Array, Meta, OptimizerRecord, Parameter, Record
from gradscope.record.rowstore import Columns
from gradscope.record.stored_columns import ColumnCache, StoredColumns, fits
from gradscope.record.table import COUNTERS, array_columns, scalar_columns

UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)  # what is not of its form
_MAX_GROUPS = 1 << 16


class _Table:
    """The whole chunks of a table, in the order of their lines, and those among them that fit its description."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.version = 0  # another one where the chunks that fit are not the earlier ones and some more
        self.misfits = 0
        self._fitting: list[Chunk] = []
        self._wanted: Columns = {}

    def take(self, chunk: Chunk) -> None:
        late = bool(self.chunks) and chunk.number < self.chunks[-1].number
        insort(self.chunks, chunk, key=attrgetter("number"))
        if late:
            self._wanted = {}

    def fitting(self, wanted: Columns) -> Sequence[Chunk]:
        if wanted != self._wanted:
            self.version += 1
            self._wanted, self._fitting, self.misfits = wanted, [], 0
        new = self.chunks[len(self._fitting) + self.misfits :]
        fitting = [chunk for chunk in new if fits(chunk, wanted)]
        self.misfits += len(new) - len(fitting)
        self._fitting = self._fitting + fitting  # a new list: records hold the earlier one
        return self._fitting


class _SeenMetric:
    """A metric, and how many of its chunks are in its sums."""

    def __init__(self, line: Mapping[str, Any]) -> None:
        optimizers = tuple(int(number) for number in line["optimizers"])
        about = int(line["metric"]), str(line["name"]), str(line["source"]), optimizers, int(line["site_number"])
        self._about = about
        self.forget()

    def forget(self) -> None:
        self.sums, self._taken, self.misfits = MetricSums(*self._about), 0, 0

    def take(self, chunks: Sequence[Chunk], data: DataFile) -> None:
        """Take in the values that were written, as they came."""
        for chunk in chunks[self._taken :]:
            row, value = chunk.columns.get("row"), chunk.columns.get("value")
            if row is None or value is None or row.dtype.kind != "i" or row.shape != value.shape or len(row.shape) != 1:
                self.misfits += 1
                continue
            for at, number in zip(data.read(row).tolist(), data.read(value).tolist()):
                self.sums.append(int(at), float(number))
        self._taken = len(chunks)


class Contents:
    """Trusts nothing: bytes are checked against their checksum, and what is damaged is left out and counted."""

    def __init__(self, data: DataFile, cache: ColumnCache) -> None:
        self.data, self._cache = data, cache
        self.healed = 0  # chunks that were damaged when they were first looked at
        self._owner = object()  # of the columns in the cache
        self._lines = self._damaged = 0
        self._unchecked: list[Chunk] = []
        self._doubtful: list[Chunk] = []
        self._doubted_at = 0  # bytes of data
        self._tables: dict[str, _Table] = {}
        self._optimizers: dict[int, Mapping[str, Any]] = {}
        self._metrics: dict[int, _SeenMetric] = {}
        self._sites: list[Site] = []
        self._partition: tuple[tuple[int, ...], ...] = ()
        self._facts = FactLog()

    def take(self, line: Mapping[str, Any]) -> None:
        """Take in the next line of the index."""
        self._lines += 1
        try:
            if "chunk" in line:
                self._unchecked.append(chunk_of(line, self._lines))
            elif "optimizer" in line:
                self._optimizers[int(line["optimizer"])] = line
            elif "metric" in line:
                self._metrics[int(line["metric"])] = _SeenMetric(line)
            elif "site" in line:
                self._sites.append(Site(str(line["file"]), int(line["line"]), str(line["function"])))
            elif "fact" in line:
                first, last, count = int(line["first"]), int(line["last"]), int(line["count"])
                entry = FactEntry(first, last, count, [from_json(fact) for fact in line["fact"]])
                self._facts.put(entry.newest, entry)
            elif "partition" in line:
                self._partition = _partition(line["partition"])
        except UNREADABLE:
            self._damaged += 1

    def doubt_again(self) -> bool:
        """Where there is more data than before, look at damaged chunks again: whether any of them is whole now.

        On network file systems a line may arrive before its bytes.
        """
        if not self._doubtful or self.data.look() == self._doubted_at:
            return False
        self._unchecked, self._doubtful, before = self._doubtful + self._unchecked, [], len(self._doubtful)
        self._check()
        if len(self._doubtful) >= before:
            return False
        self.healed += 1
        for metric in self._metrics.values():
            metric.forget()
        return True

    def _check(self) -> None:
        for chunk in self._unchecked:
            if self.data.whole(chunk):
                self._tables.setdefault(chunk.table, _Table()).take(chunk)
            else:
                self._doubtful.append(chunk)
        self._unchecked, self._doubted_at = [], self.data.size

    def forget(self) -> None:
        """Let go of what is cached."""
        self._cache.forget(self._owner)

    # -- the record -------------------------------------------------------------------------------------------------

    def record(self, meta: Meta) -> Record:
        """As of now; `meta` gets a note where something is damaged. DamagedRecord where nothing can be made of it."""
        self.data.look()  # after the lines have been read: their bytes were written before them
        self._check()
        records = [self._optimizer(number, line) for number, line in sorted(self._optimizers.items())]
        for number, metric in self._metrics.items():
            metric.take(self._chunks(f"metrics/{number}"), self.data)
        damaged = self._damaged + len(self._doubtful)
        damaged += sum(table.misfits for table in self._tables.values())
        damaged += sum(metric.misfits for metric in self._metrics.values())
        if damaged:
            meta.notes.append(f"{damaged} damaged parts of the record were left out")
        stepped = tuple(optimizer for optimizer in records if len(optimizer.rows))
        seen = tuple(metric.sums.view() for metric in self._metrics.values())
        return Record(stepped, self._partition, self._facts.copy(), tuple(self._sites), meta, seen)

    def _chunks(self, table: str) -> Sequence[Chunk]:
        return self._tables[table].chunks if table in self._tables else ()

    def _optimizer(self, number: int, line: Mapping[str, Any]) -> OptimizerRecord:
        try:
            parameters = tuple(_parameter(*fields[:5]) for fields in line["parameters"])
            groups, kind, variable = int(line["groups"]), str(line["type"]), str(line["variable"])
            if not 0 <= groups <= _MAX_GROUPS:
                raise ValueError(groups)
        except UNREADABLE:
            raise DamagedRecord(f"the description of optimizer {number} is damaged") from None
        scalars = self._columns(f"{number}/scalars", scalar_columns(groups))
        arrays = self._columns(f"{number}/arrays", array_columns(len(parameters)))
        counters = self._counters(number, len(parameters))
        losses, joint = self._courses(f"{number}/losses/"), self._courses(f"{number}/joint_losses/")
        return OptimizerRecord(number, kind, variable, parameters, scalars, arrays, counters, losses, joint or None)

    def _columns(self, name: str, wanted: Columns) -> StoredColumns:
        table = self._tables.get(name) or _Table()
        chunks = table.fitting(wanted)
        return StoredColumns(self.data, chunks, wanted, self._cache, (self._owner, name, table.version))

    def _counters(self, number: int, parameters: int) -> dict[str, Array]:
        counters = {name: np.full(parameters, start, np.int64) for name, start in COUNTERS.items()}
        for chunk in self._chunks(f"{number}/counters")[-1:]:
            for name, counter in counters.items():
                stored = chunk.columns.get(name)
                if stored is not None and stored.shape == counter.shape:
                    counters[name] = self.data.read(stored)
        return counters

    def _courses(self, prefix: str) -> dict[int, Blocks]:
        """By course, the newest blocks that can be read."""
        found = {}
        for name, table in self._tables.items():
            course = name[len(prefix) :]
            if name.startswith(prefix) and course.isdecimal() and len(course) < 10:
                for chunk in reversed(table.chunks):
                    try:
                        columns = {at: self.data.read(stored) for at, stored in chunk.columns.items()}
                        found[int(course)] = from_columns(columns)
                        break
                    except UNREADABLE:
                        continue
        return found


def _partition(groups: Any) -> tuple[tuple[int, ...], ...]:
    """ValueError where an optimizer stands in two of them, which no loop can bring about."""
    read = tuple(tuple(int(number) for number in group) for group in groups)
    if len({number for group in read for number in group}) < sum(map(len, read)):
        raise ValueError(groups)
    return read


def _parameter(name: Any, shape: Any, group: Any, dtype: Any = "", place: Any = -1) -> Parameter:
    """The first records had no dtype, and no place."""
    return Parameter(str(name), tuple(int(size) for size in shape), int(group), str(dtype), int(place))
