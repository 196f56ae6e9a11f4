"""`record.bin`: where its chunks stand, whether they are whole, and how parts of them are read. Never mapped.

A mapped file that somebody cuts short ends the process which reads it; a read of one that is cut short is an error.
"""
from __future__ import annotations

import math
import os
import threading
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np

from gradscope.errors import DamagedRecord
from gradscope.record.growing_lines import stat_of
from gradscope.record.record import Array

_DTYPES = {name: np.dtype(name) for name in ("<i8", "<i4", "<f8", "<f4", "|u1")}
_PIECE = 4 << 20  # bytes read at once


class Stored(NamedTuple):
    """A column of a chunk: # shape, from byte `at` of the file on."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    at: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


@dataclass(frozen=True)
class Chunk:
    """Columns that were written together; `number` is that of its line in the index."""

    number: int
    table: str
    at: int
    size: int
    crc: int
    columns: Mapping[str, Stored]


def chunk_of(line: Mapping[str, Any], number: int) -> Chunk:
    """What a line of the index says of a chunk. KeyError, TypeError or ValueError where it is not of that form."""
    at, size = _natural(line["at"]), _natural(line["bytes"])
    columns, start = {}, at
    for name, dtype, shape in line["columns"]:
        if dtype not in _DTYPES:
            raise ValueError("unknown kind of column")
        column = Stored(_DTYPES[dtype], tuple(map(_natural, shape)), start)
        columns[str(name)] = column
        start += column.dtype.itemsize * math.prod(column.shape)
    if start > at + size:
        raise ValueError("columns beyond the end of the chunk")
    return Chunk(number, str(line["chunk"]), at, size, _natural(line["crc"]), columns)


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(value)
    return value


class DataFile:
    """Kept open, so that it stays what it was when another one takes its name. Threads may read at the same time."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._lost = False
        self._lock = threading.Lock()
        self._file: Any = None
        self._identity: tuple[int, int] | None = None

    def look(self) -> int:
        """Look how long it is now: `size`. The first time, it is opened."""
        if not self.lost():
            try:
                now = stat_of(self.path)
                if self._file is None:
                    self._file = open(self.path, "rb", buffering=0)
                    weakref.finalize(self, self._file.close)
                    now = os.fstat(self._file.fileno())
                    self._identity = now.st_dev, now.st_ino
                self.size = now.st_size
            except OSError:
                pass
        return self.size

    def lost(self) -> bool:
        """Whether another file has taken its name since it was opened, or it has become shorter."""
        if self._file is not None and not self._lost:
            try:
                now = stat_of(self.path)
                self._lost = (now.st_dev, now.st_ino) != self._identity or now.st_size < self.size
            except OSError:
                self._lost = True
        return self._lost

    def whole(self, chunk: Chunk) -> bool:
        """Whether a chunk is there, and is what was written."""
        if chunk.at + chunk.size > self.size:
            return False
        crc, stop, buffer = 0, chunk.at + chunk.size, memoryview(bytearray(min(chunk.size, _PIECE)))
        try:
            for at in range(chunk.at, stop, _PIECE):
                piece = buffer[: min(_PIECE, stop - at)]
                self._read(at, piece)
                crc = zlib.crc32(piece, crc)
        except DamagedRecord:
            return False
        return crc == chunk.crc

    def read(self, stored: Stored, out: Array | None = None) -> Array:
        """All of a column, into `out` where it is given."""
        out = np.empty(stored.shape, stored.dtype) if out is None else out
        if out.size:
            self._read(stored.at, out.reshape(-1).view(np.uint8).data)
        return out

    def row(self, stored: Stored, at: int) -> Array:
        """One row of a column."""
        return self.read(Stored(stored.dtype, stored.shape[1:], stored.at + at * stored.row_bytes))

    def pieces(self, stored: Stored) -> Iterator[tuple[int, Array]]:
        """A column in pieces of a few MB: the first row of each, and its rows, which are good until the next piece."""
        rows, row_bytes = stored.shape[0], max(1, stored.row_bytes)
        step = max(1, _PIECE // row_bytes)
        buffer = np.empty((min(step, rows), *stored.shape[1:]), stored.dtype)
        for first in range(0, rows, step):
            piece = buffer[: min(step, rows - first)]
            if piece.size:
                self._read(stored.at + first * stored.row_bytes, piece.reshape(-1).view(np.uint8).data)
            yield first, piece

    def _read(self, at: int, buffer: memoryview) -> None:
        done = 0
        try:
            with self._lock:
                self._file.seek(at)
                while done < len(buffer):
                    got = self._file.readinto(buffer[done:])
                    if not got:
                        break
                    done += got
        except OSError as error:
            raise DamagedRecord(f"{self.path} cannot be read: {error.strerror or error}") from None
        if done < len(buffer):
            raise DamagedRecord(f"{self.path} has become shorter while it was read")
