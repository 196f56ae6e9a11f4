"""Running somebody's script inside a recording: its argv, paths, exit code and traceback stay its own."""
from __future__ import annotations

import importlib.machinery
import os
import runpy
import signal
import sys
import types
from pathlib import Path
from types import FrameType, TracebackType
from typing import Callable

from gradscope.errors import UsageError
from gradscope.scope import outer_session
from gradscope.session import Session

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Outcome:
    """How the script ended: `status` for the report, `exit_code`, and what it raised, if anything."""

    def __init__(self, status: str, exit_code: int, error: BaseException | None = None) -> None:
        self.status, self.exit_code, self.error = status, exit_code, error


def check_script(script: str) -> Path:
    """The script's path; UsageError where there is nothing to run."""
    path = Path(script)
    if path.is_dir():
        raise UsageError(f"{script} is a directory, not a script")
    if not path.is_file():
        raise UsageError(f"there is no script {script}")
    return path


def run(
    session: Session, target: str, arguments: list[str], as_module: bool, at_end: Callable[[Outcome], None]
) -> Outcome:
    """Run the script (or module) to its end, then `at_end(outcome)`, once, only in the process that started.

    A SIGTERM that the script does not handle itself ends the recording, reports, and then kills the process as it would
    have done anyway.
    """
    owner = os.getpid()
    done = False

    def finish(outcome: Outcome) -> None:
        nonlocal done
        if done or os.getpid() != owner:
            return
        done = True
        session.close(outcome.status, outcome.exit_code)
        at_end(outcome)

    with outer_session(session), _sigterm(lambda: finish(Outcome("interrupted", 128 + signal.SIGTERM))):
        try:
            if as_module:
                _run_module(target, arguments)
            else:
                _run_script(target, arguments)
            outcome = Outcome("finished", 0)
        except SystemExit as exit_:
            outcome = Outcome("finished", _exit_code(exit_.code), exit_)
        except KeyboardInterrupt as error:
            outcome = Outcome("interrupted", 128 + signal.SIGINT, error)
        except BaseException as error:
            outcome = Outcome("crashed", 1, error)
        if os.getpid() == owner and outcome.error is not None and not isinstance(outcome.error, SystemExit):
            _show_traceback(outcome.error)
        finish(outcome)
    return outcome


def leave(outcome: Outcome, exit_code: int) -> int:
    """End the process as the script would have: by its exception (already shown), its SystemExit, or the exit code."""
    error = outcome.error
    if isinstance(error, SystemExit):
        if exit_code == outcome.exit_code:
            raise error
        return exit_code
    if error is not None:
        sys.excepthook = lambda *_: None
        raise error
    return exit_code


def _run_script(script: str, arguments: list[str]) -> None:
    path = os.path.abspath(script)
    with open(path, "rb") as file:
        source = file.read()
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=path,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __builtins__=__builtins__,
        __cached__=None,
    )
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    sys.modules["__main__"] = main
    exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)


def _run_module(module: str, arguments: list[str]) -> None:
    sys.argv = [module, *arguments]
    sys.path[0] = os.getcwd()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


class _sigterm:
    """While open, SIGTERM first calls `finish`, where nobody else handles it."""

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish, self._pid, self._installed = finish, os.getpid(), False

    def __enter__(self) -> None:
        try:
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._handle)
                self._installed = True
        except ValueError:  # not in the main thread
            pass

    def __exit__(self, *_: object) -> None:
        if self._installed and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() == self._pid:
            try:
                self._finish()
                sys.stdout.flush()
            except Exception:
                pass
        os.kill(os.getpid(), signal.SIGTERM)


def _show_traceback(error: BaseException) -> None:
    """The traceback as python itself would print it: without the frames of gradscope and runpy."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        link = queue.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = _strip(link.__traceback__)
            queue += [link.__cause__, link.__context__]
    sys.excepthook(type(error), error, error.__traceback__)


def _strip(traceback: TracebackType | None) -> TracebackType | None:
    frames = []
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not os.path.abspath(file).startswith(_OWN) and "runpy" not in os.path.basename(file):
            frames.append(traceback)
        traceback = traceback.tb_next
    following: TracebackType | None = None
    for link in reversed(frames):
        following = TracebackType(following, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return following
