"""Which folders are a run's, where they are, and when they were written."""
from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

from gradscope.record.chunks import DATA, FINDINGS, INDEX, META

FILES = (META, INDEX, DATA, FINDINGS)
PART = re.compile(r"rank(0|[1-9][0-9]{0,6})")  # the part of one process, where several make one run
MOST_FOLDERS, MOST_ENTRIES, DEEPEST, SECONDS = 20_000, 400_000, 12, 2.0  # looked at, and for so long


def is_run(folder: Path) -> bool:
    """Whether a folder holds a record: some of its files, all of them files themselves."""
    found = {}
    for name in FILES:
        try:
            found[name] = stat.S_ISREG(os.lstat(folder / name).st_mode)
        except (OSError, ValueError):
            continue
    return (META in found or INDEX in found) and all(found.values())


def part_of(folder: Path, rank: int) -> Path:
    """Where the process of this rank writes."""
    return folder / f"rank{rank}"


def parts_of(folder: Path) -> dict[int, Path]:
    """The parts of a run folder that hold a record, by rank; none where one process has made it."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if PART.fullmatch(entry.name)]
    except (OSError, ValueError):
        return {}
    ranks = sorted(int(name[4:]) for name in names)
    return {rank: part_of(folder, rank) for rank in ranks if _is_part(part_of(folder, rank))}


def _is_part(folder: Path) -> bool:
    return not folder.is_symlink() and is_run(folder)


class Walk:
    """Through folders, the nearest first, within bounds; `whole` is false where these were reached.

    Links are not followed, and a folder is no run where one of its files is a link, or no file. The parts that several
    processes have made are one run.
    """

    def __init__(self) -> None:
        self._folders = self._entries = 0
        self._until = time.monotonic() + SECONDS
        self.whole = True

    def below(self, root: Path) -> list[str]:
        """The paths of the run folders below a root, relative to it; "" is the root."""
        found: list[str] = []
        level = [""]
        for _ in range(DEEPEST + 1):
            deeper: list[str] = []
            for below in level:
                if self._tired():
                    self.whole = False
                    return found
                if self._visit(root, below, deeper):
                    found.append(below)
            level = sorted(deeper)
        self.whole = self.whole and not level
        return found

    def _tired(self) -> bool:
        return (
            self._folders >= MOST_FOLDERS or self._entries >= MOST_ENTRIES or time.monotonic() > self._until
        )

    def _visit(self, root: Path, below: str, deeper: list[str]) -> bool:
        """Whether a folder is a run's; adds the folders in it to `deeper`."""
        self._folders += 1
        candidate = parts = False
        try:
            with os.scandir(root / below) as entries:
                for entry in entries:
                    self._entries += 1
                    if PART.fullmatch(entry.name) and _is_part(root / below / entry.name):
                        parts = True
                    elif entry.is_dir(follow_symlinks=False):
                        deeper.append(f"{below}/{entry.name}" if below else entry.name)
                    candidate = candidate or entry.name in FILES
                    if self._entries >= MOST_ENTRIES:
                        break
        except (OSError, ValueError):
            return False
        return parts or candidate and is_run(root / below)


def written_at(folder: Path) -> float | None:
    """When a run's files were last written, in seconds since the epoch; None where there are none."""
    times = []
    for name in FILES:
        try:
            times.append(os.stat(folder / name).st_mtime)
        except (OSError, ValueError):
            continue
    return max(times, default=None)
