"""Which part of which run folder is this process's, where a launcher has started several. Nobody waits for anybody.

The processes of one launch have the same environment but for their ranks; a small file in the log directory, named
after it, says until all are there which folder the first of them has made. Each claims a part of it: `rank<k>/`.
"""
from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.ranks.claim import REPORTED, Claim, take
from gradscope.record.run_folder import is_name_of, new_run_folder
from gradscope.record.search import part_of

# What tells one launch from another: torchrun's, or what a script for a cluster has set.
_LAUNCH = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT")
_TOGETHER = 120.0  # seconds within which the processes of a launch start, where nothing better tells them
_LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Launched:
    """A process as its launcher has started it: which one of how many, and of which launch."""

    rank: int
    world: int
    launch: str


@dataclass(frozen=True)
class Part:
    """This process's part of a run folder."""

    folder: Path  # the run's
    rank: int
    world: int
    claim: Claim

    @property
    def path(self) -> Path:
        return part_of(self.folder, self.rank)


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """What the launcher's environment says; None where this process is alone."""
    try:
        rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError):
        return None
    if not 0 <= rank < world or world < 2:
        return None
    return Launched(rank, world, "\n".join([str(world), *(environment.get(name, "") for name in _LAUNCH)]))


def join(directory: Path, stem: str, process: Launched) -> Part:
    """Claim this process's part of the run folder of its launch; the first to come makes the folder. OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{process.launch}\n{stem}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    note = directory / f".ranks-{name}"
    with _opened(note) as file:
        told = _fitting(os.pread(file, 1 << 16, 0), directory, stem, process.rank)
        if told is None:
            folder = new_run_folder(directory, stem)
            told = {"folder": folder.name, "at": time.time(), "parent": _parent(), "joined": 0}
        folder = directory / told["folder"]
        claim = Claim(part_of(folder, process.rank))
        told["joined"] += 1
        if told["joined"] >= process.world:
            note.unlink()
        else:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(told).encode("utf-8"), 0)
    return Part(folder, process.rank, process.world, claim)


def _fitting(text: bytes, directory: Path, stem: str, rank: int) -> dict[str, Any] | None:
    """What the first process of this launch has noted; None where it was an earlier launch's."""
    try:
        told = json.loads(text)
        name, at, parent = Path(str(told["folder"])).name, float(told["at"]), told["parent"]
        told = {"folder": name, "at": at, "parent": parent, "joined": int(told["joined"])}
        folder = directory / name
        if not is_name_of(name, stem) or not folder.is_dir():
            return None
        if part_of(folder, rank).exists() or (folder / REPORTED).exists():
            return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError):
        return None
    return told if parent == _parent() or abs(time.time() - at) < _TOGETHER else None


def _parent() -> str:
    """The launcher's process, which no other one on any machine is taken for."""
    number = os.getppid()
    try:
        started = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, ValueError, IndexError):
        started = ""
    return f"{socket.gethostname()}/{number}/{started}"


@contextmanager
def _opened(note: Path) -> Iterator[int]:
    """The file, and nobody else's meanwhile: where the file system has locks, and nobody holds on to it."""
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        file = os.open(note, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            with suppress(OSError):
                while not take(file) and time.monotonic() < until:
                    time.sleep(0.005)
            if _still(note, file) or time.monotonic() >= until:
                yield file
                return
        finally:
            os.close(file)


def _still(note: Path, file: int) -> bool:
    """Whether the file is there under its name: whoever held it may have removed it."""
    try:
        return os.path.samestat(os.stat(note), os.fstat(file))
    except OSError:
        return False
