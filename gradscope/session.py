"""One recording, composed: hooks -> recorder -> record and run folder -> rules -> findings. One a process at a time."""
from __future__ import annotations

import atexit
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Mapping

import torch

from gradscope.diagnosis import Cadence, Diagnosis, FindingLog, diagnose
from gradscope.facts import FactEntry, to_json
from gradscope.findings import Finding, to_line
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.optimizer import living_optimizers
from gradscope.probes.catalogue import make_probes
from gradscope.progress import Progress
from gradscope.record.chunks import FINDINGS, ChunkWriter
from gradscope.record.record import Record
from gradscope.record.table import OptimizerTable, array_columns, scalar_columns
from gradscope.recording.recorder import Recorder
from gradscope.recording.sampling import Sampling
from gradscope.reporters.report import Report
from gradscope.rules.base import Rule
from gradscope.version import __version__

MEMORY_LIMIT = 64 << 20


class Session:
    """Watches until `close`. Nothing in here may raise into the user's loop.

    `folder`: where the record goes (None: memory only). `base`: the directory that paths are shown relative to.
    `tell(sentence)` prints what must be said once.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        folder: Path | None = None,
        every: int | None = None,
        script: str = "",
        argv: tuple[str, ...] = (),
        base: Path | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
        progress: Progress | None = None,
    ) -> None:
        self.rules, self.folder, self.base = rules, folder, base
        self.log = FindingLog(rules)
        self.closed = False
        self.failure: str | None = None  # why nothing is watched any more
        self._tell, self._progress = tell, progress
        self._cadence = Cadence()
        self._pid = os.getpid()
        self._writer = None if folder is None else ChunkWriter(folder)
        self._order = 0
        self._facts_written: dict[Any, tuple[int, int]] = {}
        self._sites_written = 0
        self._partition_written: tuple[tuple[int, ...], ...] = ()
        self._started = time.perf_counter()
        self.recorder = Recorder(
            Sampling(every), make_probes(), self, self._row_finished, self._recorder_failed, MEMORY_LIMIT
        )
        meta = self.recorder.meta
        meta.script, meta.argv, meta.torch, meta.gradscope = script, argv, str(torch.__version__), __version__
        self._write_meta()
        atexit.register(self.close)

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Install the hooks and take in the optimizers that are already there."""
        DISPATCHER.attach(self.recorder)
        try:
            for optimizer in living_optimizers():
                self.recorder.optimizer_created(optimizer)
            self.recorder.trace.start()
        except Exception as error:
            DISPATCHER.detach()
            self._recorder_failed(error)

    def close(self, status: str = "finished", exit_code: int | None = None) -> None:
        """Undo all hooks, finish the record, run the rules a last time. Safe to call twice, and from anywhere."""
        if self.closed:
            return
        atexit.unregister(self.close)
        self.closed = True
        DISPATCHER.detach()
        self.recorder.trace.stop()
        if self._progress is not None:
            self._progress.clear()
        if os.getpid() != self._pid:  # a forked child: the record is its parent's
            return
        meta = self.recorder.meta
        try:
            if self.failure is None:
                self.recorder.end_run(finished=status == "finished")
        except Exception as error:
            self._recorder_failed(error)
        meta.status, meta.exit_code = status, exit_code
        self._account()
        self._evaluate(max(0, meta.rows - 1))
        self._flush()
        if self._writer is not None:
            self._write_meta()
            self._say_if_broken()
            self._writer.close()

    # -- what users read --------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        return self.recorder.view()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.log.findings

    def diagnose(self) -> Diagnosis:
        """Run the rules now; what they find is kept as if found at the newest row."""
        rows = self.recorder.meta.rows
        self._evaluate(rows if not self.closed else max(0, rows - 1))
        return Diagnosis(self.log.findings, self.skipped)

    @property
    def skipped(self) -> dict[str, str]:
        """What was not checked, and why: rules by code; where no rule depends on it, what could not be seen."""
        if self.failure is not None:
            return {rule.code: self.failure for rule in self.rules}
        blind = self.recorder.meta.blind
        needed = {need for rule in self.rules for need in rule.needs}
        return {**self.log.skipped, **{what: why for what, why in blind.items() if what not in needed}}

    def report(self) -> Report:
        """All there is to tell, now."""
        meta = self.recorder.meta
        if not self.closed:
            self._account()
        notes = []
        if DISPATCHER.foreign_thread_calls:
            notes.append(f"{DISPATCHER.foreign_thread_calls} calls made in other threads were not watched")
        return Report(
            meta,
            self.log.findings,
            self.skipped,
            self.folder,
            self.base,
            len(self.log.suppressed),
            tuple(notes),
        )

    # -- the recorder's callbacks -----------------------------------------------------------------------------------

    def described(self, table: OptimizerTable) -> None:
        if self._writer is not None:
            self._writer.line(table.describe())

    def row(self, table: OptimizerTable, scalars: Mapping[str, Any], arrays: Mapping[str, Any] | None) -> None:
        if self._writer is None:
            return
        self._writer.row(f"{table.number}/scalars", scalars, table.scalars.total, table.scalars.row_bytes)
        if arrays is not None:
            self._writer.row(f"{table.number}/arrays", arrays, table.arrays.total, table.arrays.row_bytes)

    def _row_finished(self, triggers: frozenset[str]) -> None:
        if self._cadence.due(self.recorder.meta.rows, triggers):
            self._account()
            self._evaluate(max(0, self.recorder.meta.rows - 1))
        if self._progress is not None and self._progress.due():
            self._progress.show(self.record, len(self.findings))
        if self._writer is not None and self._writer.due():
            self._flush()

    def _recorder_failed(self, error: BaseException) -> None:
        if self.failure is not None:
            return
        self.failure = f"watching stopped at step {self.recorder.row}: {type(error).__name__}: {error}"
        DISPATCHER.drop()
        self._tell(f"{self.failure}; the training goes on untouched")

    def _evaluate(self, row: int) -> None:
        if self.failure is not None or os.getpid() != self._pid:
            return
        try:
            for finding in self.log.update(diagnose(self.record, self.rules), row):
                if self._writer is not None:
                    self._order += 1
                    self._writer.line(to_line(finding, self._order), FINDINGS)
        except Exception as error:
            self._recorder_failed(error)

    # -- the run folder ---------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        writer = self._writer
        if writer is None or os.getpid() != self._pid:
            return
        for site in self.recorder.sites[self._sites_written :]:
            data = {"site": self._sites_written, "file": site.file, "line": site.line, "function": site.function}
            writer.line(data)
            self._sites_written += 1
        columns = {}
        for table in self.recorder.tables():
            columns[f"{table.number}/scalars"] = scalar_columns(table.groups)
            columns[f"{table.number}/arrays"] = array_columns(len(table.parameters))
            table.settle()
            writer.arrays(f"{table.number}/counters", table.counters)
        writer.flush(columns)
        partition = self.recorder.partition.groups()
        if partition != self._partition_written:
            self._partition_written = partition
            writer.line({"partition": [list(group) for group in partition]})
        for key, entry in self.recorder.facts.entries.items():
            if self._facts_written.get(key) != (entry.count, entry.last):
                self._facts_written[key] = (entry.count, entry.last)
                writer.line(_fact_line(entry))
        self._write_meta()
        self._say_if_broken()

    def _write_meta(self) -> None:
        if self._writer is not None:
            self._writer.meta(self.recorder.meta)

    def _say_if_broken(self) -> None:
        if self._writer is not None and self._writer.broken:
            self._tell(f"the run folder cannot be written: {self._writer.broken}; the record is kept in memory")
            self._writer.close()
            self._writer, self.folder = None, None

    def _account(self) -> None:
        """The bill: our own time against the loop's."""
        elapsed = time.perf_counter() - self._started
        self.recorder.meta.overhead = DISPATCHER.seconds / max(1e-9, elapsed - DISPATCHER.seconds)


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
    base = directory / f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, n = base, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            n += 1
            folder = base.with_name(f"{base.name}-{n}")
