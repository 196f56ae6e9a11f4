"""Where a recording goes while it goes on: the run folder, and what TensorBoard shows."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import FactLog
from gradscope.findings import Finding
from gradscope.record.chunks import FLUSH_SECONDS
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Meta
from gradscope.record.run_folder import RunFolder
from gradscope.record.table import OptimizerTable
from gradscope.reporters.event_file import EventFile, UserWriter
from gradscope.reporters.report import Report
from gradscope.reporters.tensorboard import TensorBoard

FIRST_ROWS = 8  # before there are curves: by then the optimizers that take turns are known, and so are the tags


@dataclass(frozen=True)
class Standing:
    """How a recording stands: what is written besides rows and findings.

    `partition`: the optimizers' numbers, grouped into streams. `optimizers`: how many take part, those that have not
    stepped yet among them.
    """

    tables: Sequence[OptimizerTable]
    sites: Sequence[Site]
    partition: tuple[tuple[int, ...], ...]
    optimizers: int
    facts: FactLog
    report: Report


class Outputs:
    """Hands everything to all of them. A Sink for the recorder's rows.

    In the run folder there is an event file for TensorBoard too, unless the user has given a SummaryWriter.
    """

    def __init__(self, path: Path | None, writer: Any, tell: Callable[[str], None], disk: int) -> None:
        self._tell = tell
        self._folder = RunFolder(path, tell, disk)
        self._own: TensorBoard | None = None
        self._given: list[tuple[Any, TensorBoard]] = []
        self._flush_after, self._flushed_at = 1.0, time.monotonic()
        if writer is not None:
            self.add_writer(writer)
        elif path is not None:
            self._own = TensorBoard(lambda: EventFile(path), tell)

    @property
    def path(self) -> Path | None:
        """The run folder, while it can be written."""
        return self._folder.path

    def add_writer(self, writer: Any) -> None:
        """Write into the user's SummaryWriter, from now on."""
        if all(writer is not known for known, _ in self._given):
            self._given.append((writer, TensorBoard(lambda: UserWriter(writer), self._tell)))

    def release_writer(self, writer: Any, now: Standing) -> None:
        """Write what is left into the user's SummaryWriter, and let go of it."""
        for known, board in self._given:
            if known is writer:
                board.close(now.partition, now.report, now.optimizers)
        self._given = [(known, board) for known, board in self._given if known is not writer]

    def described(self, table: OptimizerTable) -> None:
        self._folder.described(table)

    def rows(
        self, table: OptimizerTable, columns: Mapping[str, Any], measured: Sequence[tuple[int, Mapping[str, Any]]]
    ) -> None:
        """Finished rows: scalars by column, and, with their places among them, the arrays of measured ones."""
        self._folder.rows(table, columns, measured)
        for board in self._boards():
            board.rows(table, columns, measured)

    def metric(self, metric: MetricSums, row: int, value: float) -> None:
        """One value of a metric."""
        self._folder.metric(metric, row, value)
        for board in self._boards():
            board.metric(metric, row, value)

    def finding(self, finding: Finding) -> None:
        """A finding, or a revision of one."""
        self._folder.finding(finding)

    def meta(self, meta: Meta) -> None:
        self._folder.meta(meta)

    def due(self) -> bool:
        """Whether it is time to flush."""
        if self._folder.due():
            return True
        return bool(self._given) and time.monotonic() - self._flushed_at >= self._flush_after

    def flush(self, now: Standing, last: bool = False) -> None:
        """Write all that is new. The `last` time, close what is ours; users' writers are flushed, not closed."""
        self._folder.flush(now.tables, now.sites, now.partition, now.facts, now.report.meta, last)
        if self._folder.path is None and self._own is not None:  # the folder cannot be written, as has been said
            self._own.drop()
            self._own = None
        for board in self._boards() if last or now.report.meta.rows >= FIRST_ROWS else ():
            write = board.close if last else board.flush
            write(now.partition, now.report, now.optimizers)
        if last:
            self._folder.close()
        self._flushed_at = time.monotonic()
        self._flush_after = min(FLUSH_SECONDS, 2 * self._flush_after)

    def abandon(self, error: Exception) -> None:
        """Something in here is broken: write nothing any more."""
        for board in self._boards():
            board.drop()
        self._own, self._given = None, []
        self._folder.abandon(f"{type(error).__name__}: {error}")

    def _boards(self) -> list[TensorBoard]:
        boards = [board for _, board in self._given]
        return boards if self._own is None else [self._own, *boards]
