"""A run of many processes: which of its parts is shown, and what they say together."""
from __future__ import annotations

import os
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

from gradscope.board.source import Fold
from gradscope.ranks.gathering import gather
from gradscope.record.chunks import FINDINGS, META
from gradscope.record.search import parts_of
from gradscope.reporters.report import Report

_MOST = 16  # runs kept


class Together:
    """Reports of all ranks, remembered by the files' times while these have ended."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[Any, Report]] = OrderedDict()

    def of(self, folder: Path) -> Report:
        """GradscopeError where no part can be read."""
        with self._lock:
            seen, before = signature(folder), self._known.get(folder)
            if before is not None and before[0] == seen:
                return before[1]
            report = gather(folder, self._fold, None)
            if report.meta.ended:
                self._known[folder] = seen, report
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
            return report


def signature(folder: Path) -> tuple[int, ...]:
    """When the meta data were written, and what else tells whether something has changed; of all parts."""
    parts = [_signature(part) for part in parts_of(folder).values()] or [_signature(folder)]
    return (max(part[0] for part in parts), *(number for part in parts for number in part))


def ranks_of(report: Report) -> dict[str, Any]:
    """What the document of a run tells of its ranks."""
    errors: dict[int, int] = {}
    for finding in report.findings:
        for rank in finding.ranks if finding.caused_by is None and finding.severity != "info" else ():
            errors[rank] = errors.get(rank, 0) + 1
    ranks = [{**vars(end), "found": errors.get(end.rank, 0)} for end in report.ranks if end.status != "unknown"]
    return {"ranks": ranks, "world": report.meta.world}


def revision(report: Report) -> str:
    """Another one when the ranks say something else."""
    return f"{zlib.crc32(repr((report.findings, report.ranks, report.notes)).encode('utf-8', 'replace')):08x}"


def _signature(folder: Path) -> tuple[int, ...]:
    parts = []
    for name in (META, FINDINGS):
        try:
            found = os.stat(folder / name)
            parts += [found.st_mtime_ns, found.st_size, found.st_ino]
        except OSError:
            parts += [0, 0, 0]
    return tuple(parts)
