"""A process's sign in its part of a run folder: how far it has come; a lock that dies with it tells that it lives."""
from __future__ import annotations

import contextlib
import enum
import errno
import os
import socket
import stat
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SIGN = "process"  # in a part
REPORTED = "reported"  # in the run folder, once somebody reports
_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0)  # for the other end of a pipe


class State(enum.Enum):
    """How far a process of a launch has come."""

    ABSENT = "absent"  # it has not begun, or writes elsewhere
    RUNNING = "running"
    CLOSED = "closed"  # its record is whole, and it may still report
    LEFT = "left"  # its record is whole, and it reports no more
    KILLED = "killed"  # it is gone, and its record ends anywhere

    @property
    def ended(self) -> bool:
        """Whether nothing more is written."""
        return self is not State.RUNNING


class Claim:
    """This process's own sign. OSError where the part is somebody's, or cannot be written."""

    def __init__(self, part: Path) -> None:
        part.mkdir()
        self._file = os.open(part / SIGN, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CLOSE_ON_EXEC, 0o644)
        self._process = os.getpid()
        with contextlib.suppress(OSError):
            take(self._file)
        self.say(State.RUNNING)

    def say(self, state: State) -> None:
        """Tell the others. Where the disk fails they take this process for what it was before."""
        text = f"{state.value}\n{os.getpid()}\n{socket.gethostname()}\n".ljust(200)
        if os.getpid() == self._process:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, text.encode("ascii", "replace"), 0)


def state_of(part: Path) -> State:
    """How far the process of a part has come; not to be asked of one's own (that would open its lock)."""
    try:
        if not stat.S_ISREG(os.stat(part / SIGN).st_mode):
            return State.ABSENT
        file = os.open(part / SIGN, os.O_RDONLY | _CLOSE_ON_EXEC | _NOT_WAITING)
    except OSError:
        return State.ABSENT
    try:
        told, number, host = (_text(file).split("\n") + ["", "", ""])[:3]
        state = State(told) if told in ("closed", "left") else State.RUNNING
        if state is State.LEFT or _lives(file, number, host):
            return state
        return State.KILLED if state is State.RUNNING else State.LEFT
    finally:
        os.close(file)


def _text(file: int) -> str:
    try:
        return os.pread(file, 200, 0).decode("ascii", "replace")
    except OSError:  # the disk fails
        return ""


def _lives(file: int, number: str, host: str) -> bool:
    try:
        return not take(file, shared=True)
    except OSError:  # no locks here: a process of this machine can be asked for, another one counts as alive
        pass
    if host != socket.gethostname() or not (number.isascii() and number.isdigit() and len(number) < 10):
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def take(file: int, shared: bool = False) -> bool:
    """Lock an open file, until it is closed or this process ends; whether it could be had. OSError without locks."""
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no locks")
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise


def first_to_make(file: Path) -> bool:
    """Make an empty file; whether it was not there yet."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSE_ON_EXEC, 0o644))
    except OSError as error:
        return not isinstance(error, FileExistsError)  # on a disk that fails, better twice than never
    return True
