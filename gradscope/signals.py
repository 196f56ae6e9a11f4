"""SIGTERM, where a script does not handle it itself: first the report, then the end that it would have had anyway."""
from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class Termination:
    """While open, SIGTERM first calls `finish`, where nobody else handles it, and then kills the process.

    Where the report is being made already, it is made to its end.
    """

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish, self._pid, self._installed = finish, os.getpid(), False
        self._busy = self._asked = False

    def __enter__(self) -> Termination:
        try:
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._handle)
                self._installed = True
        except ValueError:  # not in the main thread
            pass
        return self

    def __exit__(self, *_: object) -> None:
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
        if self._busy and os.getpid() == self._pid:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() == self._pid:
            with contextlib.suppress(Exception):
                self._finish()
        os.kill(os.getpid(), signal.SIGTERM)
