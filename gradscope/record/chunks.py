"""Append-only files of a run folder: readable after kill -9, no pickle, bounded.

`record.bin` holds raw arrays, `index.jsonl` one JSON line for each thing known: descriptions, sites, facts, and for
each chunk of columns where in `record.bin` they stand, with their checksum. A line is written after its bytes.
"""
from __future__ import annotations

import itertools
import json
import os
import time
import zlib
from pathlib import Path
from typing import IO, Any, Mapping, Sequence

import numpy as np

from gradscope.config import Limits
from gradscope.record.record import Array, Meta

SCHEMA = 1
META, INDEX, DATA, FINDINGS = "meta.json", "index.jsonl", "record.bin", "findings.jsonl"
FLUSH_BYTES = 4 << 20
FLUSH_SECONDS = 30.0
DISK_LIMIT = Limits.disk
ARRAYS_SHARE = 0.75  # of the limit, for per-parameter rows: losses and learning rates go on when these have ended


class ChunkWriter:
    """Writes one run folder. Any OSError ends the writing, not the run: `broken` then says why."""

    def __init__(self, folder: Path, limit: int = DISK_LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self.broken = ""
        self.written = 0
        self._pending: dict[str, list[tuple[int, int, Mapping[str, Any]]]] = {}  # width, rows (0: just one), columns
        self._pending_bytes = 0
        self._flush_after = 1.0  # seconds; doubles to FLUSH_SECONDS, so that short runs leave something too
        self._flushed_at = time.monotonic()
        self._strides: dict[str, int] = {}
        self._flushes = self._whole_bytes = 0
        self._whole_stride = 1
        self._files: dict[str, IO[Any]] = {}
        self._attempt(self._open)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (INDEX, FINDINGS):
            self._files[name] = open(self.folder / name, "a", encoding="utf-8")
        self._files[DATA] = open(self.folder / DATA, "ab")

    def line(self, data: Mapping[str, Any], file: str = INDEX) -> None:
        """Write one JSON line at once."""
        self._attempt(lambda: self._lines([data], file))

    def row(self, table: str, row: Mapping[str, Any], number: int, size: int, width: int) -> None:
        """Keep one row (of `size` bytes) of a table for the next chunk; rows of the same `width` have the same shapes.

        As the disk fills, per-parameter rows are taken ever rarer: one in four where half of the room that was left for
        them is used up, so that each such part lasts twice as long as the one before it.
        """
        if self.broken:
            return
        if table.endswith("/arrays"):
            stride = self._strides.setdefault(table, 1)
            if number % stride:
                return
            used = (self.written + self._pending_bytes) / (ARRAYS_SHARE * self.limit)
            if used > 1 - 0.5 ** ((stride.bit_length() + 1) // 2):
                self._strides[table] = stride * 4
        elif self.written + self._pending_bytes > self.limit:
            return
        self._pending.setdefault(table, []).append((width, 0, row))
        self._pending_bytes += size

    def rows(self, table: str, columns: Mapping[str, Any], size: int, width: int) -> None:
        """Keep several rows (of `size` bytes each), each column # (rows, ...)."""
        if self.broken or self.written + self._pending_bytes > self.limit:
            return
        count = len(next(iter(columns.values())))
        self._pending.setdefault(table, []).append((width, count, columns))
        self._pending_bytes += size * count

    def due(self) -> bool:
        """Whether it is time for a chunk: 4 MB, or 30 s since the last one (sooner at the start)."""
        if not self._pending:
            return False
        if self._pending_bytes >= FLUSH_BYTES:
            return True
        return time.monotonic() - self._flushed_at >= self._flush_after

    def flush(self, columns: Mapping[str, Mapping[str, tuple[Any, tuple[int, ...]]]]) -> None:
        """Write all kept rows; `columns[table]` are their dtypes and shapes."""
        self._attempt(lambda: self._flush(columns))
        self._pending, self._pending_bytes = {}, 0
        self._flushed_at = time.monotonic()
        self._flush_after = min(FLUSH_SECONDS, 2 * self._flush_after)
        self._flushes += 1

    def whole_due(self) -> bool:
        """Whether whole arrays are to be written before this flush: ever rarer as they fill an eighth of the limit."""
        if self._whole_bytes > self.limit / 8 * (1 - 0.5**self._whole_stride.bit_length()):
            self._whole_stride *= 2
        return self._flushes % self._whole_stride == 0

    def arrays(self, table: str, arrays: Mapping[str, Array]) -> None:
        """Write whole arrays now (counters: the newest chunk of a table replaces the older ones)."""
        before = self.written
        self._attempt(lambda: self._lines([self._chunk(table, arrays)], INDEX))
        self._whole_bytes += self.written - before

    def meta(self, meta: Meta) -> None:
        """Replace meta.json, whole or not at all."""

        def write() -> None:
            data = {"schema": SCHEMA, **{k: v for k, v in vars(meta).items()}, "argv": list(meta.argv)}
            part = self.folder / (META + ".part")
            part.write_text(json.dumps(data, indent=1), encoding="utf-8")
            os.replace(part, self.folder / META)

        self._attempt(write)

    def close(self) -> None:
        for file in self._files.values():
            try:
                file.close()
            except OSError:
                pass
        self._files = {}

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _attempt(self, action: Any) -> None:
        if self.broken:
            return
        try:
            action()
        except OSError as error:
            self.broken = f"{error.strerror or error} ({self.folder})"

    def _lines(self, lines: Sequence[Mapping[str, Any]], file: str) -> None:
        """In one piece: who reads meanwhile sees all of them or none."""
        text = "".join(json.dumps(data, separators=(",", ":")) + "\n" for data in lines)
        self._files[file].write(text)
        self._files[file].flush()
        self.written += len(text)

    def _flush(self, columns: Mapping[str, Mapping[str, tuple[Any, tuple[int, ...]]]]) -> None:
        lines = []
        for table, waiting in self._pending.items():
            dtypes = {name: dtype for name, (dtype, _) in columns[table].items()}
            # Rows before and after add_param_group have other shapes: one chunk each.
            for _, part in itertools.groupby(waiting, key=lambda entry: entry[0]):
                parts = [(count, rows) for _, count, rows in part]
                lines.append(self._chunk(table, {n: _joined(parts, n, dtype) for n, dtype in dtypes.items()}))
        self._lines(lines, INDEX)

    def _chunk(self, table: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Write the bytes; returns the line that is to say where they are."""
        file = self._files[DATA]
        at = file.tell()
        blob = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
        file.write(blob)
        file.flush()
        self.written += len(blob)
        layout = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
        return {"chunk": table, "at": at, "bytes": len(blob), "crc": zlib.crc32(blob), "columns": layout}


def _joined(parts: list[tuple[int, Mapping[str, Any]]], name: str, dtype: Any) -> Array:
    return np.concatenate([np.asarray(r[name] if count else [r[name]], dtype) for count, r in parts])
