"""Which runs there are below a log directory, by name: the only folders that are ever opened."""
from __future__ import annotations

import os
import re
import stat
import threading
import time
from pathlib import Path
from typing import Mapping

from gradscope.record.chunks import DATA, FINDINGS, INDEX, META

FRESH = 3.0  # seconds for which a listing is good
MOST_FOLDERS, MOST_ENTRIES, DEEPEST = 20_000, 400_000, 12  # looked at
SECONDS = 2.0  # for looking
FILES = (META, INDEX, DATA, FINDINGS)


class Runs:
    """The run folders below some roots, each named after its path; "." where a root without a name is one itself.

    Links are not followed, and a folder one of whose files leads out of it is no run.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self._lock = threading.Lock()
        self._found: dict[str, Path] = {}
        self._looked_at = -FRESH
        self.whole = True  # whether all folders were looked at

    def folders(self, fresh: float = FRESH) -> dict[str, Path]:
        """By name, sorted as people do; `fresh`: how many seconds old an answer may be."""
        with self._lock:
            if time.monotonic() - self._looked_at >= fresh:
                self._look()
                self._looked_at = time.monotonic()
            return dict(self._found)

    def folder(self, name: str) -> Path | None:
        """The folder of a run, None where there is none of that name; looks again before it says so."""
        found = self.folders().get(name)
        return found if found is not None or name in self._found else self.folders(fresh=0.5).get(name)

    def _look(self) -> None:
        found: dict[str, Path] = {}
        walk = _Walk()
        for name, root in self._roots.items():
            for relative in walk.below(root):
                parts = [part for part in (name, relative) if part]
                found.setdefault("/".join(parts) or ".", root / relative)
        self.whole = walk.whole
        self._found = {name: found[name] for name in sorted(found, key=natural)}


class _Walk:
    def __init__(self) -> None:
        self.folders = self.entries = 0
        self.until = time.monotonic() + SECONDS
        self.whole = True

    def below(self, root: Path) -> list[str]:
        """The paths of the run folders below a root, relative to it; "" is the root."""
        found: list[str] = []
        level = [""]
        for _ in range(DEEPEST + 1):
            deeper: list[str] = []
            for relative in level:
                if self.folders >= MOST_FOLDERS or self.entries >= MOST_ENTRIES or time.monotonic() > self.until:
                    self.whole = False
                    return found
                if self._visit(root, relative, deeper):
                    found.append(relative)
            level = sorted(deeper)
        self.whole = self.whole and not level
        return found

    def _visit(self, root: Path, relative: str, deeper: list[str]) -> bool:
        """Whether a folder is a run's; adds the folders in it to `deeper`."""
        self.folders += 1
        files: dict[str, bool] = {}
        try:
            with os.scandir(root / relative) as entries:
                for entry in entries:
                    self.entries += 1
                    if entry.name in FILES:
                        files[entry.name] = stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
                    elif entry.is_dir(follow_symlinks=False):
                        deeper.append(f"{relative}/{entry.name}" if relative else entry.name)
                    if self.entries >= MOST_ENTRIES:
                        break
        except (OSError, ValueError):
            return False
        return (META in files or INDEX in files) and all(files.values())


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key to sort names by: run2 before run10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(p[:18] or 0), p) if i % 2 else (0, 0, p) for i, p in enumerate(parts))
