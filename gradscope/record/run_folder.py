"""A run's folder while the run goes on: what is known goes there, chunk by chunk."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gradscope.events import Site
from gradscope.facts.catalogue import to_json
from gradscope.facts.fact import FactEntry, FactLog
from gradscope.findings import Finding, to_line
from gradscope.record.blocks import to_columns
from gradscope.record.chunks import DISK_LIMIT, FINDINGS, ChunkWriter
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Meta
from gradscope.record.table import OptimizerTable, array_columns, scalar_columns

METRIC_COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {"row": ("<i8", ()), "value": ("<f8", ())}


class RunFolder:
    """Takes rows and findings, and writes them; without a `path` it takes them and does nothing.

    Where the disk fails, it says so once by `tell`, lets go of the path, and goes on doing nothing.
    """

    def __init__(self, path: Path | None, tell: Callable[[str], None], limit: int = DISK_LIMIT) -> None:
        self.path = path
        self._writer = None if path is None else ChunkWriter(path, limit)
        self._tell = tell
        self._order = 0
        self._standing: dict[str, tuple[str, str | None]] = {}
        self._revised: dict[str, Finding] = {}  # since the last chunk
        self._facts_written: dict[Any, tuple[int, int]] = {}
        self._sites_written = 0
        self._partition_written: tuple[tuple[int, ...], ...] = ()
        self._metrics: set[int] = set()  # by number: described
        self._shapes: dict[int, tuple[int, int]] = {}  # groups and parameters, by table with rows for the next chunk

    def described(self, table: OptimizerTable) -> None:
        """An optimizer's columns are known, or have become more."""
        if self._writer is not None:
            self._writer.line(table.describe())

    def rows(
        self, table: OptimizerTable, columns: Mapping[str, Any], measured: Sequence[tuple[int, Mapping[str, Any]]]
    ) -> None:
        """Finished rows, for the next chunk: scalars by column, and the arrays of those that were measured."""
        if self._writer is None:
            return
        number, arrays = table.number, table.arrays
        self._shapes[number] = table.groups, len(table.parameters)  # it may be forgotten before they are written
        self._writer.rows(f"{number}/scalars", columns, table.scalars.row_bytes, table.groups)
        for at, row in enumerate(measured, arrays.total - len(measured) + 1):
            self._writer.row(f"{number}/arrays", row[1], at, arrays.row_bytes, len(table.parameters))

    def metric(self, metric: MetricSums, row: int, value: float) -> None:
        """One value of a metric, for the next chunk."""
        writer = self._writer
        if writer is None:
            return
        if metric.number not in self._metrics:
            self._metrics.add(metric.number)
            known = {"name": metric.name, "source": metric.source, "optimizers": list(metric.optimizers)}
            writer.line({"metric": metric.number, **known, "site_number": metric.site})
        writer.row(f"metrics/{metric.number}", {"row": row, "value": value}, 0, 16, 0)

    def finding(self, finding: Finding) -> None:
        """A finding, or a revision of one: written at once where it is new or stands otherwise, else with a chunk."""
        standing = (finding.severity, finding.caused_by)
        if self._standing.get(finding.id) == standing:
            self._revised[finding.id] = finding
        else:
            self._standing[finding.id] = standing
            self._revised.pop(finding.id, None)
            self._write(finding)

    def _write(self, finding: Finding) -> None:
        if self._writer is not None:
            self._order += 1
            self._writer.line(to_line(finding, self._order), FINDINGS)

    def meta(self, meta: Meta) -> None:
        if self._writer is not None:
            self._writer.meta(meta)

    def due(self) -> bool:
        """Whether it is time for a chunk."""
        return self._writer is not None and self._writer.due()

    def flush(
        self,
        tables: Sequence[OptimizerTable],
        sites: Sequence[Site],
        partition: tuple[tuple[int, ...], ...],
        facts: FactLog,
        meta: Meta,
        last: bool = False,
    ) -> None:
        """Write a chunk: all that is new since the last one."""
        writer = self._writer
        if writer is None:
            return
        for number in range(self._sites_written, len(sites)):
            site = sites[number]
            writer.line({"site": number, "file": site.file, "line": site.line, "function": site.function})
        self._sites_written = len(sites)
        for finding in self._revised.values():
            self._write(finding)
        self._revised = {}
        columns: dict[str, Any] = {f"metrics/{number}": METRIC_COLUMNS for number in self._metrics}
        for number, (groups, parameters) in self._shapes.items():
            columns[f"{number}/scalars"] = scalar_columns(groups)
            columns[f"{number}/arrays"] = array_columns(parameters)
        self._shapes = {}
        for table in tables if last or writer.whole_due() else ():
            writer.arrays(f"{table.number}/counters", table.counters)
            for name, courses in (("losses", table.losses), ("joint_losses", table.joint_losses)):
                for course, blocks in courses.view().items() if courses is not None else ():
                    writer.arrays(f"{table.number}/{name}/{course}", to_columns(blocks))
        writer.flush(columns)
        if partition != self._partition_written:
            self._partition_written = partition
            writer.line({"partition": [list(group) for group in partition]})
        for key, entry in facts.entries.items():
            if self._facts_written.get(key) != (entry.count, entry.last):
                self._facts_written[key] = (entry.count, entry.last)
                writer.line(_fact_line(entry))
        writer.meta(meta)
        if writer.broken:
            self.abandon(writer.broken)

    def abandon(self, why: str) -> None:
        """Say so, and write nothing any more."""
        if self._writer is not None:
            self._tell(f"the run folder cannot be written: {why}; the record is kept in memory")
        self.path = None
        self.close()

    def close(self) -> None:
        """Close the files; what comes later is not written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _fact_line(entry: FactEntry) -> dict[str, Any]:
    return {
        "fact": [to_json(fact) for fact in entry.examples],
        "first": entry.first,
        "last": entry.last,
        "count": entry.count,
    }


def new_run_folder(directory: Path, stem: str) -> Path:
    """`<directory>/<stem>-<YYYYmmdd-HHMMSS>[-n]`, made now, so that concurrent runs get different ones."""
    directory.mkdir(parents=True, exist_ok=True)
    base = directory / f"{_short(stem)}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, n = base, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            n += 1
            folder = base.with_name(f"{base.name}-{n}")


def is_name_of(name: str, stem: str) -> bool:
    """Whether a run folder of this stem may be called so."""
    return name.startswith(f"{_short(stem)}-")


def _short(stem: str) -> str:
    while len(os.fsencode(stem)) > 200:  # of 255 that a file's name can have
        stem = stem[:-1]
    return stem
