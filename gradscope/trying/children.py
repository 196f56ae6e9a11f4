"""Starting a child, following it, ending it."""
from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import gradscope
from gradscope.diagnosis import fold
from gradscope.errors import GradscopeError
from gradscope.findings import Finding, from_line
from gradscope.record.reader import find_run, read_findings, read_record
from gradscope.record.record import Record
from gradscope.rules.base import Rule
from gradscope.trying.plan import Plan, Told

TAIL = 16 << 10  # bytes of a child's stderr are kept

_PACKAGE = Path(gradscope.__file__).resolve().parent
# Finds this gradscope, wherever it is, and nothing else of what lies beside it or in the working directory. The first
# entry of the path is the script's to be.
_BOOT = """import sys
first = not getattr(sys.flags, "safe_path", False)
sys.path[:first] = [sys.argv[1]]
import gradscope
sys.path[:1] = ["-"] * first
from gradscope.trying.child import main
main(sys.argv[2])
"""


class Stopped(BaseException):
    """The user, or the system, wants an end of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While open, Ctrl-C, SIGTERM and SIGHUP raise Stopped."""
    before: dict[int, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        with contextlib.suppress(ValueError):  # not in the main thread
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Ran:
    """How a child went. `status`: finished, crashed, interrupted, or stopped (by `--steps`, as asked for)."""

    status: str
    exit_code: int
    seconds: float
    record: Record | None
    findings: tuple[Finding, ...]
    stderr: str
    told: Told | None

    @property
    def steps(self) -> int:
        return 0 if self.record is None else self.record.meta.rows


def run(
    plan: Plan,
    place: Path,
    env: Mapping[str, str],
    rules: tuple[Rule, ...],
    show: Callable[[str], None],
    output: bool,
) -> Ran:
    """Run a plan in `place` to its end; `show(status)` is called now and then. Nothing of it is left running."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    command = [sys.executable, *flags, "-c", _BOOT, str(_PACKAGE.parent), str(plan.write())]
    start, tail = time.monotonic(), collections.deque[bytes]()
    process = subprocess.Popen(
        command,
        cwd=place,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=None if output else subprocess.DEVNULL,
        stderr=None if output else subprocess.PIPE,
        start_new_session=True,
    )
    reader = threading.Thread(target=_keep_tail, args=(process.stderr, tail), daemon=True)
    if process.stderr is not None:
        reader.start()
    try:
        while not _ended(process):
            show(_read(plan.status))
            time.sleep(0.05)
    finally:
        _kill(process)
        code = process.wait()
        if process.stderr is not None:
            reader.join(timeout=2)
            if not reader.is_alive():
                process.stderr.close()
    text = b"".join(tail)[-TAIL:].decode("utf-8", "replace")
    return _gather(plan, code, time.monotonic() - start, text, rules)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is left to be waited for, so that its number is not given to another process."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The child and what it has started; without a chance to save anything."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _keep_tail(stream: Any, tail: collections.deque[bytes]) -> None:
    size = 0
    with contextlib.suppress(OSError, ValueError):
        while chunk := os.read(stream.fileno(), 4096):
            tail.append(chunk)
            size += len(chunk)
            while size - len(tail[0]) > TAIL:
                size -= len(tail.popleft())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def _gather(plan: Plan, code: int, seconds: float, stderr: str, rules: tuple[Rule, ...]) -> Ran:
    told = Told.read(plan.outcome)
    record: Record | None = None
    findings: tuple[Finding, ...] = ()
    with contextlib.suppress(GradscopeError):
        folder = find_run(plan.record)
        record = read_record(folder)
        findings = fold([from_line(line) for line in read_findings(folder)], rules)
    exit_code = code if code >= 0 else 128 - code
    if told is not None and told.stopped:
        status = "stopped"
    elif told is None:  # it was killed, or has ended itself by os._exit
        status = "finished" if code == 0 else "crashed"
    else:
        status = record.meta.status if record is not None else ("finished" if code == 0 else "crashed")
    return Ran(status, exit_code, seconds, record, findings, stderr, told)
