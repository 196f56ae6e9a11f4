"""Which runs there are below a log directory, by name: the only folders that are ever opened."""
from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradscope.record.search import Walk, is_run, parts_of

FRESH = 3.0  # seconds for which a listing is good
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Runs:
    """The run folders below some roots, each named after its path; "." where a root without a name is one itself.

    Links are not followed, and a folder is no run where one of its files is a link, or no file.
    """

    def __init__(self, roots: Mapping[str, Path], note: str = "") -> None:
        self._roots, self._note = {name: Path(os.path.abspath(root)) for name, root in roots.items()}, note
        self._lock = threading.Lock()
        self._found: dict[str, tuple[Path, str]] = {}  # root, and the path below it
        self._whole = True
        self._looked_at: float | None = None
        self._took = 0.0  # seconds

    @property
    def note(self) -> str:
        """What is to be said of the listing: one sentence, or nothing."""
        if not self._whole:
            return "this folder is too large to be looked through: some of its runs may not be listed"
        return self._note

    def folders(self, fresh: float = FRESH) -> dict[str, Path]:
        """By name, sorted as people do; `fresh`: how many seconds old an answer may be, where looking is quick."""
        with self._lock:
            now = time.monotonic()
            if self._looked_at is None or now - self._looked_at >= max(fresh, 20 * self._took):
                self._look()
                self._looked_at = time.monotonic()
                self._took = self._looked_at - now
            return {name: root / below for name, (root, below) in self._found.items()}

    def any(self) -> bool:
        """Whether there is a run: quick where there was one."""
        with self._lock:
            known = next(iter(self._found.values()), None)
        return known is not None and holds_run(known[0] / known[1]) or bool(self.folders())

    def folder(self, name: str) -> Path | None:
        """The folder of a run as it is now, None where there is none of that name."""
        if name not in self.folders() and name not in self.folders(fresh=0.5):
            return None
        with self._lock:
            root, below = self._found.get(name, (Path(), ""))
        parts = below.split("/") if below else []
        inside = [root.joinpath(*parts[: i + 1]) for i in range(len(parts))]
        if any(folder.is_symlink() for folder in inside) or not holds_run(root / below):
            return None
        return root / below

    def _look(self) -> None:
        found: dict[str, tuple[Path, str]] = {}
        walk = Walk()
        for name, root in self._roots.items():
            for below in walk.below(root):
                found.setdefault(_told("/".join(part for part in (name, below) if part) or "."), (root, below))
        self._whole = walk.whole
        self._found = {name: found[name] for name in sorted(found, key=natural)}


def holds_run(folder: Path) -> bool:
    """Whether it is a record, or holds the parts of one."""
    return is_run(folder) or bool(parts_of(folder))


def _told(path: str) -> str:
    """A path as a name that a browser can send back: bytes that are no UTF-8 are written out."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key to sort names by: run2 before run10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(p[:18] or 0), p) if i % 2 else (0, 0, p) for i, p in enumerate(parts))


def roots_of(logdir: str, spec: str) -> tuple[dict[str, Path], str]:
    """The folders of `--logdir`, or of `--logdir_spec` (name:path,path,...), by the name that their runs begin with.

    And what is to be said of those that are not looked through.
    """
    asked = [("", logdir)] if logdir else [_named(part) for part in spec.split(",") if part.strip()]
    remote = [path for _, path in asked if _REMOTE.match(path)]
    roots: dict[str, Path] = {}
    for name, path in asked:
        if not _REMOTE.match(path):
            roots[_unused(name, path, roots)] = Path(path).expanduser()
    return roots, _left_out(remote)


def _unused(name: str, path: str, roots: Mapping[str, Path]) -> str:
    """`name`; where another root has it the folder's own, numbered where that is taken, too."""
    own = os.path.basename(path.rstrip("/")) or path
    names = itertools.chain((name, own), (f"{own} ({number})" for number in itertools.count(2)))
    return next(name for name in names if name not in roots)


def _named(part: str) -> tuple[str, str]:
    name, colon, path = part.strip().partition(":")
    if not colon or path.startswith("//") or "/" in name or "\\" in path[:1]:
        return "", part.strip()
    return name, path


def _left_out(remote: Sequence[str]) -> str:
    return f"gradscope reads local folders only, and does not look into {', '.join(remote)}" if remote else ""
