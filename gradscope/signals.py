"""SIGTERM, where a script does not handle it itself: first the report, then the end that it would have had anyway."""
from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE = 3.0  # seconds that the main thread has for what SIGTERM asks of it


class Termination:
    """While open, SIGTERM first calls `finish`, where nobody else handles it, and then kills the process.

    Where the report is being made already, it is made to its end. `unheard`: called in a thread of its own instead
    where the main thread does not come to it, since it waits for another process, say.
    """

    def __init__(self, finish: Callable[[], None], unheard: Callable[[], None] | None = None) -> None:
        self._finish, self._pid, self._installed = finish, os.getpid(), False
        self._busy = self._asked = False
        self._ear = None if unheard is None or not hasattr(os, "register_at_fork") else Ear(unheard)

    def __enter__(self) -> Termination:
        try:
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._handle)
                self._installed = True
                if self._ear is not None:
                    self._ear.open()
        except ValueError:  # not in the main thread
            pass
        return self

    def __exit__(self, *_: object) -> None:
        if self._ear is not None:
            self._ear.close()
        if self._installed and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self._asked:
                os.kill(os.getpid(), signal.SIGTERM)

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """The report is being made."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._ear is not None:
            self._ear.heard.set()
        if self._busy and os.getpid() == self._pid:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() == self._pid:
            with contextlib.suppress(Exception):
                self._finish()
        os.kill(os.getpid(), signal.SIGTERM)


class Ear:
    """A thread that hears of SIGTERM where the main thread is inside of a call that does not return: python's own
    handlers run between two steps of the main thread only."""

    def __init__(self, unheard: Callable[[], None]) -> None:
        self._unheard = unheard
        self._pipe: tuple[int, int] | None = None
        self.heard = threading.Event()

    def open(self) -> None:
        """ValueError outside of the main thread."""
        self._pipe = reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if before != -1:  # somebody else's
            signal.set_wakeup_fd(before)
        os.register_at_fork(after_in_child=self._forked)
        threading.Thread(target=self._listen, args=(reader,), name="gradscope", daemon=True).start()

    def close(self) -> None:
        """Hear nothing any more."""
        self.heard.set()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(ValueError):
                now = signal.set_wakeup_fd(-1)
                if now not in (-1, pipe[1]):
                    signal.set_wakeup_fd(now)
            os.close(pipe[1])  # the thread reads its end, and closes the other one

    def _listen(self, reader: int) -> None:
        while signals := os.read(reader, 256):
            if signal.SIGTERM in signals and not self.heard.wait(PATIENCE):
                with contextlib.suppress(Exception):
                    self._unheard()
                _die()
        os.close(reader)

    def _forked(self) -> None:
        """What a child is told is not for its parent's ear."""
        if self._pipe is not None:
            with contextlib.suppress(ValueError):
                signal.set_wakeup_fd(-1)


def _die() -> None:
    """By SIGTERM as if nobody handled it; python lets only the main thread say so."""
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).signal(int(signal.SIGTERM), None)
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(128 + signal.SIGTERM)
