"""One line on a terminal's stderr while a long run goes on."""
from __future__ import annotations

import sys
import time
from typing import IO

from gradscope.record.record import Record

START_AFTER = 5.0  # seconds
EVERY = 1.0


class Progress:
    """Steps, steps/s, loss, lr, findings so far. Silent where another progress bar is at work (tqdm)."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._started = self._shown_at = time.monotonic()
        self._shown = False

    def due(self) -> bool:
        """Whether it is time for a new line: once a second, after the first few."""
        now = time.monotonic()
        return now - self._shown_at >= EVERY and now - self._started >= START_AFTER and not _bar_is_open()

    def show(self, record: Record, findings: int) -> None:
        """Show where the run stands."""
        now = time.monotonic()
        self._shown_at, self._shown = now, True
        rows = record.meta.rows
        parts = [f"step {rows:,}", f"{rows / (now - self._started):,.1f} steps/s", *_newest(record)]
        parts.append(f"{findings} finding{'s' * (findings != 1)}")
        self._write(f"\x1b[2K\r\x1b[2mgradscope: {' · '.join(parts)}\x1b[0m\r")

    def clear(self) -> None:
        if self._shown:
            self._write("\x1b[2K\r")
            self._shown = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass


def _bar_is_open() -> bool:
    """Whether a bar of tqdm's is on the screen; torch imports tqdm wherever it is installed."""
    tqdm = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    return bool(getattr(tqdm, "_instances", ()))


def _newest(record: Record) -> list[str]:
    if not record.streams or not len(record.streams[0].rows):
        return []
    stream = record.streams[0]
    return [f"loss {stream.loss[-1]:.4g}", f"lr {stream.optimizers[0].lr[-1][0]:.3g}"]
