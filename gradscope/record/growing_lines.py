"""A file of JSON lines that grows at its end: what has come since it was last looked at."""
from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from pathlib import Path
from typing import IO, Any

from gradscope.errors import DamagedRecord

_TAIL = 256  # bytes that tell whether what was read is still there
_LARGEST = 1 << 30  # bytes read of a file: a record's limit is half of that, and nearly all of it is in other files


class GrowingLines:
    """Reads each line once. A torn last one is tried again; lines that are not JSON objects are passed over.

    DamagedRecord where there is more of it than there is room for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.crc = 0  # of all that has been read
        self._at, self._tail = 0, b""
        self._seen: tuple[int, ...] = ()

    def replaced(self) -> bool:
        """Whether it is another file than the one read so far, or one that has become shorter: then start anew."""
        try:
            now = _signature(stat_of(self.path))
            if not self._seen or now == self._seen:
                return False
            if now[:2] != self._seen[:2]:
                return True
            with open(self.path, "rb") as file:
                file.seek(self._at - len(self._tail))
                return file.read(len(self._tail)) != self._tail
        except OSError:
            return bool(self._seen)

    def read(self) -> bytes:
        """The new lines, for `objects`."""
        try:
            if _signature(stat_of(self.path)) == self._seen:
                return b""
            with open(self.path, "rb") as file:
                self._seen = _signature(os.fstat(file.fileno()))
                file.seek(self._at)
                found = rest_of(file)
        except OSError:
            return b""
        end = found.rfind(b"\n") + 1
        if _object(found[end:]) is not None:  # whole, but for its end of line
            end = len(found)
        taken = found[:end]
        self._at += end
        self._tail = (self._tail + taken)[-_TAIL:]
        self.crc = zlib.crc32(taken, self.crc)
        return taken


def objects(lines: bytes) -> list[dict[str, Any]]:
    """The JSON objects among some lines."""
    return [line for line in map(_object, lines.split(b"\n")) if line is not None]


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text.decode("utf-8", "replace")) if text else None
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def rest_of(file: IO[bytes]) -> bytes:
    """What is left of an open file. OSError; DamagedRecord where that is more than there is room for."""
    try:
        if os.fstat(file.fileno()).st_size - file.tell() <= _LARGEST:
            return file.read()
    except MemoryError:
        pass
    raise DamagedRecord(f"{file.name} is larger than there is room for")


def stat_of(path: Path) -> os.stat_result:
    """OSError also where it is no plain file: to open a pipe waits for its other end."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return found


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
