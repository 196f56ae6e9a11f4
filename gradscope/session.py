"""One recording, composed: hooks -> recorder -> record and run folder -> rules -> findings. One a process at a time."""
from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gradscope.config import Limits
from gradscope.diagnosis import Cadence, Diagnosis, FindingLog, diagnose
from gradscope.findings import Finding
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.optimizer import living_optimizers
from gradscope.hooks.processes import place
from gradscope.outputs import Outputs, Standing
from gradscope.probes.catalogue import make_probes
from gradscope.progress import Progress
from gradscope.record.record import Record
from gradscope.recording.metrics import BadValue
from gradscope.recording.recorder import Recorder
from gradscope.recording.replaying import ReplayingRecorder
from gradscope.recording.sampling import Sampling
from gradscope.reporters.report import Report
from gradscope.rules.base import Rule
from gradscope.version import __version__


class Session:
    """Watches until `close`. Nothing in here may raise into the user's loop.

    `folder`: where the record goes (None: memory only). `base`: the directory that paths are shown relative to.
    `tell(sentence)` prints what must be said once; `announce(finding)` is called for each new error or warning that is
    no consequence of another one. `writer`: a SummaryWriter of the user's, for the curves.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        folder: Path | None = None,
        limits: Limits = Limits(),
        script: str = "",
        argv: tuple[str, ...] = (),
        base: Path | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
        progress: Progress | None = None,
        announce: Callable[[Finding], None] = lambda finding: None,
        writer: Any = None,
    ) -> None:
        self.rules, self.base = rules, base
        self.log = FindingLog(rules)
        self.closed = False
        self.failure: str | None = None  # why nothing is watched any more
        self._tell, self._progress, self._announce = tell, progress, announce
        self._announced: set[str] = set()
        self._told: set[str] = set()  # names of metrics with which something was wrong
        self._cadence = Cadence()
        self._pid = os.getpid()
        self._outputs = Outputs(folder, writer, tell, limits.disk)
        self._started = time.perf_counter()
        self._aside = 0.0  # seconds of our own outside of the loop's calls
        sampling = Sampling(limits.every, limits.budget)
        kind = ReplayingRecorder if limits.replay else Recorder
        self.recorder = kind(
            sampling, make_probes(), self._outputs, self._row_finished, self._recorder_failed, limits.memory
        )
        meta = self.recorder.meta
        meta.budget = limits.budget
        if not sampling.stride:
            meta.blind["norms"] = "the budget is 0, so only calls and losses were watched"
        meta.script, meta.argv, meta.torch, meta.gradscope = script, argv, str(torch.__version__), __version__
        self._locate()
        self._outputs.meta(meta)
        atexit.register(self.close)

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Install the hooks and take in the optimizers that are already there."""
        start = time.perf_counter()
        try:
            DISPATCHER.attach(self.recorder)
            for optimizer in living_optimizers():
                self.recorder.optimizer_created(optimizer)
            curtains = DISPATCHER.regions.curtains
            curtains += (self.recorder.stage.trace.curtain, self.recorder.validation.curtain)
            self.recorder.stage.trace.start()
            if isinstance(self.recorder, ReplayingRecorder):
                self.recorder.start()
                curtains.append(self.recorder.curtain)
        except Exception as error:
            DISPATCHER.detach()
            self._recorder_failed(error)
        self._aside += time.perf_counter() - start

    def close(self, status: str = "finished", exit_code: int | None = None) -> None:
        """Undo all hooks, finish the record, run the rules a last time. Safe to call twice, and from anywhere."""
        if self.closed:
            return
        atexit.unregister(self.close)
        self.closed = True
        undone = [DISPATCHER.detach, self.recorder.stage.trace.stop, self.recorder.validation.stop]
        if isinstance(self.recorder, ReplayingRecorder):
            undone.append(self.recorder.stop)
        if self._progress is not None:
            undone.append(self._progress.clear)
        for undo in undone:
            self._attempt(undo)
        if os.getpid() != self._pid:  # a forked child: the record is its parent's
            return
        start, meta = time.perf_counter(), self.recorder.meta
        if self.failure is None:
            self._attempt(lambda: self.recorder.end_run(finished=status == "finished"))
        meta.status, meta.exit_code = status, exit_code
        self._evaluate(max(0, meta.rows - 1))
        if not meta.rows and DISPATCHER.regions.entered and self.recorder.tracks and not self.findings:
            meta.blind["steps"] = "no step was seen: torch.compile keeps what it runs as one graph to itself"
        self._aside += time.perf_counter() - start
        self._attempt(self._account)
        self._attempt(lambda: self._flush(last=True))

    def stuck(self, status: str, exit_code: int | None) -> None:
        """The process ends, and its loop does not come to an end of its own: say so, and wait for nothing."""
        meta = self.recorder.meta
        meta.status, meta.exit_code, meta.skipped = status, exit_code, dict(self.skipped)
        self._outputs.meta(meta)

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
            self._outputs.path,
            self.base,
            len(self.log.suppressed),
            tuple(notes),
        )

    # -- what users hand in ------------------------------------------------------------------------------------------

    def logged(self, metrics: Mapping[str, Any], optimizers: tuple[int, ...], frame: FrameType) -> None:
        """Take in numbers of the loop's own; whatever is wrong with them is said, once for each name."""
        if os.getpid() != self._pid or self.failure is not None:
            return
        if self.closed:
            self._tell_once("", "scope.log: the recording has ended, so nothing is taken in any more")
            return
        start = time.perf_counter()
        for name, value in metrics.items():
            try:
                self.recorder.validation.logged(name, value, optimizers, frame)
            except BadValue as error:
                wanted = "takes a number or a tensor with one value"
                self._tell_once(name, f"scope.log({name}=...) {wanted}, not {error}; it is not recorded")
            except Exception as error:
                self._tell_once(name, f"scope.log({name}=...) failed: {type(error).__name__}: {error}")
        self._aside += time.perf_counter() - start

    def _tell_once(self, name: str, sentence: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._tell(sentence)

    # -- users' SummaryWriters --------------------------------------------------------------------------------------

    def add_writer(self, writer: Any) -> None:
        """Write curves and findings into the user's SummaryWriter, from now on."""
        self._outputs.add_writer(writer)

    def release_writer(self, writer: Any) -> None:
        """The user may close the writer now."""
        if not self.closed and os.getpid() == self._pid:
            self._outputs.release_writer(writer, self._standing())

    # -- the recorder's callbacks -----------------------------------------------------------------------------------

    def _row_finished(self, triggers: frozenset[str]) -> int:
        if self._cadence.due(self.recorder.meta.rows, triggers):
            self._account()
            self._evaluate(max(0, self.recorder.meta.rows - 1))
        if self._progress is not None and self._progress.due():
            self._progress.show(self.recorder.view(live=True), len(self.findings))
        if self._outputs.due():
            self._flush()
        return self._cadence.next

    def give_up(self, error: Exception) -> None:
        """Closing it has failed: no hook is left, and it is said."""
        with contextlib.suppress(Exception):
            DISPATCHER.detach()
        self._recorder_failed(error)

    def _recorder_failed(self, error: BaseException) -> None:
        if self.failure is not None:
            return
        self.failure = f"watching stopped at step {self.recorder.row}: {type(error).__name__}: {error}"
        DISPATCHER.drop()
        self._tell(f"{self.failure}; the training goes on untouched")

    def _attempt(self, action: Callable[[], Any]) -> None:
        """Do what may fail without a consequence for what comes after it."""
        try:
            action()
        except Exception as error:
            self._recorder_failed(error)

    def _evaluate(self, row: int) -> None:
        if self.failure is not None or os.getpid() != self._pid:
            return
        try:
            record = self.recorder.view(live=True)
            start = time.perf_counter()
            known = len(self.log)
            for finding in self.log.update(diagnose(record, self.rules), row, record):
                self._outputs.finding(finding)
                if finding.severity != "info" and finding.caused_by is None and finding.id not in self._announced:
                    self._announced.add(finding.id)
                    self._announce(finding)
            if len(self.log) > known:
                self.recorder.rows.suspect()
            self.recorder.sampling.others(time.perf_counter() - start)
        except Exception as error:
            self._recorder_failed(error)

    def _flush(self, last: bool = False) -> None:
        if os.getpid() == self._pid:
            start = time.perf_counter()
            try:
                self._outputs.flush(self._standing(), last)
            except Exception as error:
                self._outputs.abandon(error)
            self.recorder.sampling.others(time.perf_counter() - start)

    def _standing(self) -> Standing:
        recorder, report = self.recorder, self.report()
        report.meta.skipped = dict(report.skipped)
        return Standing(
            recorder.books.tables(),
            recorder.books.sites,
            recorder.rows.partition.groups(),
            sum(track.number >= 0 for track in recorder.tracks),
            recorder.stage.facts,
            report,
        )

    def _account(self) -> None:
        """The bill: our own time against the loop's."""
        own = DISPATCHER.seconds + self._aside
        elapsed = time.perf_counter() - self._started
        self._locate()
        self.recorder.meta.seconds, self.recorder.meta.overhead = own, own / max(1e-9, elapsed - own)

    def _locate(self) -> None:
        """Which of the processes that train together this is: often known only once the loop has begun."""
        meta = self.recorder.meta
        if meta.world is None and (found := place()) is not None:
            meta.rank, meta.world = found.rank, found.world
