"""From a run folder back to what was recorded."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gradscope.errors import DamagedRecord
from gradscope.record.chunks import INDEX, META
from gradscope.record.record import Record
from gradscope.record.run_file import RunFile, StoredFindings
from gradscope.record.search import Walk, parts_of
from gradscope.record.stored_columns import ColumnCache

_ONE_RUN = 1 << 30  # bytes of columns kept: rules ask for the same ones again and again


def find_run(path: Path) -> Path:
    """The run folder that `path` names: itself, or the newest run anywhere below it."""
    if not os.path.exists(path):  # not Path's: it stumbles over names that are too long
        raise DamagedRecord(f"there is no run folder at {path}")
    try:
        if (path / META).is_file() or (path / INDEX).is_file() or parts_of(path):
            return path
        if path.is_dir():
            os.scandir(path).close()
    except OSError as error:
        raise DamagedRecord(f"{path} cannot be read ({error.strerror})") from None
    walk = Walk()
    inside = [path / below for below in walk.below(path)]
    if not inside:
        there = "in it or below" if walk.whole else "in what was looked through: it is too large"
        raise DamagedRecord(f"{path} holds no gradscope record (no {META} {there})")
    return max(inside, key=lambda folder: (_modified(folder), folder.name))


def _modified(folder: Path) -> float:
    """When the meta data were written: of any of its parts, where there are some."""
    times = [0.0]
    for part in (folder, *parts_of(folder).values()):
        try:
            times.append(os.stat(part / META).st_mtime)
        except OSError:
            continue
    return max(times)


def read_record(folder: Path) -> Record:
    """The Record of a run folder; DamagedRecord where there is none that can be read. Its arrays are read on demand."""
    return RunFile(folder, ColumnCache(_ONE_RUN)).record


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """The stored findings, newest revision of each id, in their own order."""
    findings = StoredFindings(folder)
    findings.read()
    return findings.newest()
