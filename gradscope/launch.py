"""`gradscope run`: a program, run inside a recording, and its report."""
from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gradscope import runner
from gradscope.config import Limits, here
from gradscope.diagnosis import fold
from gradscope.findings import SEVERITIES
from gradscope.plain import sentence
from gradscope.progress import Progress
from gradscope.ranks.gathering import gather
from gradscope.ranks.joining import Part, join, launched
from gradscope.ranks.leaving import WAIT, WAIT_AFTER_A_CRASH, WAIT_FOR_WORKERS, leave, wait_for
from gradscope.record.record import Meta
from gradscope.record.search import parts_of
from gradscope.reporters import json, terminal
from gradscope.reporters.report import Report
from gradscope.rules.base import Rule
from gradscope.saying import put
from gradscope.spawning import Settings, spawned
from gradscope.version import __version__

if TYPE_CHECKING:
    from gradscope.session import Session


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    rules: tuple[Rule, ...]
    log_dir: Path
    json_file: Path | None = None
    fail_on: str | None = None
    limits: Limits = Limits()
    quiet: bool = False


class Launch:
    """One program under watch. The session opens with the program's own `import torch`, and ends with the program.

    Started by a launcher as one of many it writes a part of their run folder; one of them reports for all, the others
    say nothing.
    """

    def __init__(self, target: str, arguments: tuple[str, ...], as_module: bool, options: Options) -> None:
        self.options, self.base = options, here()
        self.program = runner.Program(target, arguments, as_module)
        self._stem = target.rpartition(".")[2] if as_module else Path(target).stem
        self._meta = Meta(script=target, argv=arguments, gradscope=__version__)
        self._stderr, self._owner = sys.stderr, os.getpid()
        self._session: Session | None = None
        self._report: Report | None = None
        self._began = time.monotonic()
        self._process = launched()
        self._part: Part | None = None
        self._workers = contextlib.ExitStack()  # of the program's own, while they are watched
        self._notes: list[str] = []  # what a process that is not to print anything has to say

    def run(self) -> Callable[[], int]:
        """Run it and report. Returns what ends this process as the program would have ended it."""
        self._join()
        with runner.when_torch_is_there(self._open):
            unheard = None if self._part is None else self._finish_elsewhere
            outcome = runner.run(self.program, self._finish, unheard)
        return lambda: outcome.leave(self._exit_code(outcome.exit_code))

    @property
    def report(self) -> Report | None:
        """What was found; None before the program has ended."""
        return self._report

    def _open(self) -> None:
        """Must not fail: it runs inside the program's `import torch`."""
        try:
            from gradscope.session import Session

            folder = self._folder()
            self._session = Session(
                self.options.rules,
                folder,
                self.options.limits,
                self._meta.script,
                self._meta.argv,
                self.base,
                self._say,
                self._progress(),
            )
            self._watch(self._session)
            if folder is not None and self._process is None:
                self._workers.enter_context(spawned(self._settings(folder)))
        except Exception as error:
            self._say(f"nothing is watched: {type(error).__name__}: {error}")

    def _join(self) -> None:
        """Claim this process's part of the run folder, where it is one of many."""
        if self._process is not None:
            try:
                self._part = join(self.base / self.options.log_dir, self._stem, self._process)
            except OSError as error:
                self._not_writable(error)

    def _folder(self) -> Path | None:
        if self._process is not None:
            return None if self._part is None else self._part.path
        from gradscope.record.run_folder import new_run_folder

        try:
            return new_run_folder(self.base / self.options.log_dir, self._stem)
        except OSError as error:
            self._not_writable(error)
            return None

    def _not_writable(self, error: OSError) -> None:
        self._say(f"{self.options.log_dir} cannot be written ({error.strerror}); the record is kept in memory")

    @property
    def _mute(self) -> bool:
        """Whether another process speaks for this one."""
        return self._process is not None and self._process.rank > 0

    def _progress(self) -> Progress | None:
        """The line that shows where a long run stands."""
        if self._mute or self.options.quiet or not _is_terminal(self._stderr):
            return None
        return Progress(self._stderr)

    def _settings(self, folder: Path) -> Settings:
        return Settings(
            folder, self.options.rules, self.options.limits, self._meta.script, self._meta.argv, self.base
        )

    def _watch(self, session: Session) -> None:
        from gradscope.watching import open_outer

        open_outer(session)

    def _finish(self, outcome: runner.Outcome) -> None:
        session = self._session
        if session is None:
            self._meta.status, self._meta.exit_code = outcome.status, outcome.exit_code
            report = Report(self._meta, (), {}, base=self.base)
        else:
            from gradscope.watching import close_outer

            self._workers.close()
            close_outer()
            session.recorder.meta.notes += self._notes
            session.close(outcome.status, outcome.exit_code)
            report = session.report()
        if report.folder is not None and (parts := parts_of(report.folder)):
            if outcome.status != "finished" and outcome.exit_code != 128 + signal.SIGTERM:  # that ends workers later
                wait_for(parts.values(), WAIT_FOR_WORKERS)
            report = self._gathered(report.folder, {}, report)
        if self._process is not None:
            together = self._together(report, {self._process.rank: report})
            if together is None:
                return
            report = together
        self._give(report)

    def _finish_elsewhere(self, outcome: runner.Outcome) -> None:
        """In another thread: the one that trains is stuck (in a collective), and its tensors are left alone."""
        session = self._session
        if session is not None:
            session.stuck(outcome.status, outcome.exit_code)
            report = self._together(session.report(), {})
            if report is not None:
                self._give(report)

    def _give(self, report: Report) -> None:
        options, self._report = self.options, report
        if options.json_file is not None:
            file = self.base / options.json_file
            try:
                file.write_text(json.render(report), encoding="utf-8")
            except OSError as error:
                self._say(f"{file} cannot be written ({error.strerror})")
        if report.findings or report.unchecked() or not options.quiet:
            self._tell(report)

    def _together(self, report: Report, own: Mapping[int, Report]) -> Report | None:
        """The report of all processes; None where another one reports. `own`: what need not be read."""
        part = self._part
        if part is None:  # nothing can be written
            return None if self._mute else report
        crashed = report.meta.status == "crashed"
        if not leave(part, time.monotonic() - self._began, WAIT_AFTER_A_CRASH if crashed else WAIT):
            return None
        return self._gathered(part.folder, own, report)

    def _gathered(self, folder: Path, own: Mapping[int, Report], report: Report) -> Report:
        """What all parts of the folder say; the report of this process where they cannot be read."""
        try:
            from gradscope.rules.catalogue import RULES

            starter = report if self._process is None else None
            return gather(folder, lambda findings: fold(findings, RULES), self.base, own, starter)
        except Exception as error:
            self._say(f"the other ranks' parts are not told of: {type(error).__name__}: {error}")
            return report

    def _tell(self, report: Report) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        if self._stderr is not None:
            terminal.write(report, self._stderr)

    def _exit_code(self, own: int) -> int:
        """The program's own; with --fail-on 1 where that is 0 and something as bad was found."""
        if own == 0 and self.options.fail_on is not None and self._report is not None and os.getpid() == self._owner:
            bad = SEVERITIES[: SEVERITIES.index(self.options.fail_on) + 1]
            return int(any(finding.severity in bad for finding in self._report.findings))
        return own

    def _say(self, told: str) -> None:
        if self._mute:
            self._notes.append(told)
            return
        put(f"gradscope: {sentence(told)}\n", self._stderr)


def _is_terminal(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False
