"""The list of runs: of each what its meta data and findings say, without its rows."""
from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradscope.board.source import Fold, read_findings
from gradscope.board.together import signature
from gradscope.errors import GradscopeError
from gradscope.ranks.gathering import gather
from gradscope.record.run_file import RunFile
from gradscope.record.search import parts_of
from gradscope.reporters.report import Report

_NOTHING = {"script": "", "status": "", "steps": 0, "errors": 0, "warnings": 0, "notes": 0}


class Listing:
    """Remembers what it has read, by the files' times."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Any, dict[str, Any]]] = {}

    def document(self, folders: Mapping[str, Path], note: str) -> dict[str, Any]:
        """All runs, in the given order, and which was written last."""
        with self._lock:
            known, runs, times = {}, [], []
            for name, folder in folders.items():
                seen = signature(folder)
                before = self._known.get(folder)
                told = before[1] if before is not None and before[0] == seen else self._read(folder)
                known[folder] = seen, told
                runs.append({"run": name, **told})
                times.append((told["problem"] is None, seen[0]))
            self._known = known
        newest = max(range(len(runs)), key=times.__getitem__, default=None)
        return {"runs": runs, "newest": None if newest is None else runs[newest]["run"], "note": note or None}

    def _read(self, folder: Path) -> dict[str, Any]:
        try:
            if parts_of(folder):
                return self._told(gather(folder, self._fold, None))
            file = RunFile(folder)
            meta = file.meta
        except GradscopeError as error:
            return {**_NOTHING, "problem": str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), "it")}
        return self._told(Report(meta, read_findings(file.findings, self._fold)[0], {}))

    def _told(self, report: Report) -> dict[str, Any]:
        meta = report.meta
        return {
            "script": meta.script,
            "status": meta.status,
            "steps": meta.rows,
            "errors": report.count("error"),
            "warnings": report.count("warning"),
            "notes": report.count("info"),
            "problem": None,
            **({"ranks": len(report.ranks)} if report.ranks else {}),
        }
