"""A run folder kept open: what has come since the last look is read, and nothing twice."""
from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Mapping

from gradscope.errors import DamagedRecord
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META, SCHEMA
from gradscope.record.contents import UNREADABLE, Contents
from gradscope.record.data_file import DataFile
from gradscope.record.growing_lines import GrowingLines, objects, rest_of, stat_of
from gradscope.record.record import Meta, Record
from gradscope.record.stored_columns import ColumnCache


class RunFile:
    """One run folder. `refresh` looks whether there is more; all else is as of the last refresh (the first: now).

    All that is raised is DamagedRecord: by `refresh` where a file is too large to be read, by `meta` and `record`, and
    by the arrays of a record where the file was cut short after it had been looked at. What was found is made sense of,
    and the bytes of the arrays are checked, when `record` is first asked for; the arrays are read when they are.
    `cache` may be shared by several. One thread at a time.
    """

    def __init__(self, folder: Path, cache: ColumnCache | None = None) -> None:
        self.folder = folder
        self._cache = ColumnCache() if cache is None else cache
        self._times = 0  # read anew
        self._open()
        self.refresh()

    def _open(self) -> None:
        self._index, self._findings = GrowingLines(self.folder / INDEX), StoredFindings(self.folder)
        self._contents, self._untaken = Contents(DataFile(self.folder / DATA), self._cache), b""
        self._record: Record | None = None
        self._meta, self._meta_seen = b"", (0, 0, 0)

    def refresh(self) -> bool:
        """Look for more; whether there is any. What was replaced, or has become shorter, is read anew."""
        before = self.revision
        if self._index.replaced() or self._findings.replaced() or self._contents.data.lost():
            self.close()
            self._open()
            self._times += 1
        self._read_meta()
        self._findings.read()
        self._untaken += self._index.read()
        self._contents.doubt_again()
        if self.revision == before:
            return False
        self._record = None
        return True

    def close(self) -> None:
        """Let go of the arrays that the cache holds."""
        self._contents.forget()

    @property
    def revision(self) -> str:
        """Another one when there is more, the same one for the same files."""
        crcs = self._index.crc, self._findings.crc, zlib.crc32(self._meta)
        return "-".join([*(f"{crc:08x}" for crc in crcs), f"{self._times}.{self._contents.healed}"])

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The newest revision of each finding, in their own order."""
        return self._findings.newest()

    @property
    def meta(self) -> Meta:
        """What is known of the run as a whole: a new copy."""
        return _parsed(self._meta, self.folder)

    @property
    def record(self) -> Record:
        """The Record; DamagedRecord where there is none that can be read."""
        if self._record is None:
            meta, lines, self._untaken = self.meta, objects(self._untaken), b""
            for line in lines:
                self._contents.take(line)
            self._record = self._contents.record(meta)
        return self._record

    def _read_meta(self) -> None:
        try:
            found = stat_of(self.folder / META)
            seen = found.st_ino, found.st_size, found.st_mtime_ns
            if seen != self._meta_seen:
                self._meta, self._meta_seen = _read(self.folder / META), seen
        except OSError:
            self._meta, self._meta_seen = b"", (0, 0, 0)


def read_meta(folder: Path) -> Meta:
    """What is known of a run as a whole. DamagedRecord."""
    try:
        return _parsed(_read(folder / META), folder)
    except OSError:
        return _parsed(b"", folder)


def _read(file: Path) -> bytes:
    """OSError also where it is no plain file."""
    stat_of(file)
    with open(file, "rb") as opened:
        return rest_of(opened)


def _parsed(text: bytes, folder: Path) -> Meta:
    try:
        data = json.loads(text.decode("utf-8"))
        if data["schema"] > SCHEMA:
            raise DamagedRecord(f"{folder} was written by a newer gradscope (schema {data['schema']})")
        return _meta(data)
    except (*UNREADABLE, RecursionError):
        what = f"{folder / META} is missing or damaged"
        raise DamagedRecord(f"{what}: this is not a readable gradscope run") from None


class StoredFindings(GrowingLines):
    """The findings of a run folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FINDINGS)
        self._known: dict[str, dict[str, Any]] = {}

    def read(self) -> bytes:
        lines = super().read()
        for line in objects(lines):
            if isinstance(line.get("id"), str) and isinstance(line.get("code"), str):
                self._known[line["id"]] = line
        return lines

    def newest(self) -> list[dict[str, Any]]:
        """The newest revision of each, in their own order."""
        return sorted(self._known.values(), key=lambda f: f["order"] if isinstance(f.get("order"), int) else 0)


def _meta(data: Mapping[str, Any]) -> Meta:
    """Each field in its own type; one of UNREADABLE where it is not."""
    meta = Meta()
    for name in ("script", "status", "torch", "gradscope"):
        setattr(meta, name, str(data.get(name, "")))
    meta.argv = tuple(str(a) for a in data["argv"])
    meta.rows, meta.backwards = int(data.get("rows", 0)), int(data.get("backwards", 0))
    for name in ("exit_code", "rank", "world"):
        setattr(meta, name, None if data.get(name) is None else int(data[name]))
    meta.overhead, meta.seconds = float(data.get("overhead", 0.0)), float(data.get("seconds", 0.0))
    meta.budget = float(data.get("budget", 0.0))
    meta.optimizers = [str(kind) for kind in data.get("optimizers", ())]
    meta.strides = [(int(row), int(stride)) for row, stride in data.get("strides", ())]
    meta.blind = {str(what): str(why) for what, why in dict(data.get("blind", {})).items()}
    meta.notes = [str(note) for note in data.get("notes", ())]
    skipped = data.get("skipped")  # the first records had none
    if isinstance(skipped, dict):
        meta.skipped = {code: why for code, why in skipped.items() if isinstance(why, str)}
    return meta
