"""Work in a fork that may take so much time and memory, and in which nothing may be written, started or executed."""
from __future__ import annotations

import json
import os
import resource
import select
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzzing.damage import CANARY

SECONDS = 10.0  # of processor time, for one reader
WALL = 300.0  # where it waits for something
MEMORY = 512 << 20  # bytes more than this process has
NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect",
         "pickle.find_class", "ctypes.dlopen")  # fmt: skip
NOT_ELSEWHERE = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod", "os.chown",
                 "shutil.rmtree")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What one reader made of an input. `wrong`: what it should not have done; "" where all is well."""

    reader: str
    outcome: str
    wrong: str = ""


Reader = Callable[[], tuple[str, str]]  # outcome, and what is wrong with it


def watched(readers: Iterable[tuple[str, Reader]], place: Path) -> list[Seen]:
    """Run some readers in a fork; they may write in `place`/work only."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _child(readers, place, writing)
        finally:
            os._exit(0)
    os.close(writing)
    text = _until(reading, time.monotonic() + WALL, child)
    _, status = os.waitpid(child, 0)
    told = [json.loads(line) for line in text.splitlines()]
    seen = [Seen(*line) for line in told if len(line) > 1]
    if len(told) > 2 * len(seen):  # the last one began, and did not end
        seen.append(Seen(told[-1][0], "killed", _how(status)))
    return seen


def _until(reading: int, end: float, child: int) -> str:
    parts = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
        part = os.read(reading, 1 << 16)
        if not part:
            os.close(reading)
            return b"".join(parts).decode()
        parts.append(part)


def _how(status: int) -> str:
    number = status & 0x7F
    if number == signal.SIGPROF:
        return f"it took more than {SECONDS:.0f} s of processor time"
    return f"it waited for more than {WALL:.0f} s" if number == signal.SIGKILL else f"it was ended by signal {number}"


def _child(readers: Iterable[tuple[str, Reader]], place: Path, writing: int) -> None:
    work = place / "work"
    os.chdir(work)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    events: list[str] = []
    sys.addaudithook(lambda event, given: _audit(event, given, str(work), events))
    for name, reader in readers:
        os.write(writing, (json.dumps([name]) + "\n").encode())
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcome, wrong = reader()
        except BaseException as error:
            outcome, wrong = type(error).__name__, raised(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if events:
            wrong = f"{wrong} {events[0]}".strip()
            events.clear()
        if list(place.rglob(CANARY)):
            wrong = f"{wrong} something planted was executed".strip()
        os.write(writing, (json.dumps([name, outcome, wrong]) + "\n").encode())


def raised(error: BaseException) -> str:
    """An error, and the places that led to it."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__}: {error!s:.200} ({places})"


def _audit(event: str, given: tuple[Any, ...], work: str, events: list[str]) -> None:
    if event == "open":
        path, _, flags = given
        if not isinstance(path, (str, bytes)):
            return
        file = os.path.realpath(os.fsdecode(path)) if b"\0" not in os.fsencode(path) else ""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            if not file.startswith(work + os.sep):
                events.append(f"{path!r} was opened for writing")
        elif file and not _plain(file):
            events.append(f"{path!r} was opened")
    elif event in NEVER or event in NOT_ELSEWHERE and not _own(given, work):
        events.append(f"{event} {given!r:.200}")
    elif event == "compile" and given[0] is not None and CANARY in str(given[0]):
        events.append(f"something planted was compiled: {given[0]!r:.200}")


def _own(given: tuple[Any, ...], work: str) -> bool:
    """Whether it is done to files in the folder that may be written, and to nothing else."""
    paths = [os.path.realpath(os.fsdecode(path)) for path in given if isinstance(path, (str, bytes, os.PathLike))]
    return bool(paths) and all(path.startswith(work + os.sep) for path in paths)


def _plain(file: str) -> bool:
    """Not a pipe, a device or a socket."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or file == os.devnull
