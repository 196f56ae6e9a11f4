"""Where the children run: a copy of the working directory, made anew for each at the same place."""
from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gradscope.errors import GradscopeError

LEFT_OUT = frozenset(
    "runs wandb mlruns .venv venv node_modules __pycache__ .mypy_cache .pytest_cache .ruff_cache .tox .hypothesis "
    ".ipynb_checkpoints".split()
)
LINKED_FOLDERS = frozenset({"objects", "lfs", "modules", "annex"})  # of .git
LINKED_FROM, DATA_FROM = 10 << 20, 50 << 20  # bytes: larger files, and all in larger data directories, are linked,
NEVER_LINKED = (".pt", ".pth", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras")  # but not what scripts write
MOST_BYTES, MOST_FILES = 1 << 30, 100_000
ABOVE = 2  # so many directories above the copy show what the real ones hold

ENVIRONMENT = {
    "GRADSCOPE_TRY": "1",
    "WANDB_MODE": "disabled",
    "COMET_MODE": "DISABLED",
    "COMET_START_ONLINE": "0",
    "NEPTUNE_MODE": "offline",
    "CLEARML_OFFLINE_MODE": "1",
    "SWANLAB_MODE": "disabled",
}


def environment(own: Mapping[str, str], scratch: Path, start: Path) -> dict[str, str]:
    """A child's environment: experiment trackers stay off the network, hashes are the same in every child.

    `start`: the directory that relative entries of PYTHONPATH are meant from; those outside of it become absolute.
    """
    env = {**own, **ENVIRONMENT, "MLFLOW_TRACKING_URI": (scratch / "mlruns").as_uri()}
    if env.get("PYTHONHASHSEED", "random") == "random":
        env["PYTHONHASHSEED"] = "0"
    if env.get("PYTHONPATH"):
        entries = env["PYTHONPATH"].split(os.pathsep)
        env["PYTHONPATH"] = os.pathsep.join(_entry(entry, start) for entry in entries)
    return env


def _entry(entry: str, start: Path) -> str:
    if os.path.isabs(entry):
        return entry
    beyond = os.path.relpath(os.path.normpath(start / entry), start).startswith(os.pardir)
    return os.path.normpath(start / entry) if beyond else entry


@dataclass
class Survey:
    """What a directory holds: paths relative to it. `bytes`: of the files that are copied."""

    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # that are there already
    linked: list[str] = field(default_factory=list)  # files and folders that the copy only links to
    left_out: list[str] = field(default_factory=list)
    bytes: int = 0
    linked_bytes: int = 0


def survey(root: Path) -> Survey:
    """Look through a directory; GradscopeError where there is too much in it to be copied."""
    found, sizes = Survey(), dict[str, int]()
    for entry, relative in _walk(root, found):
        try:
            told = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISLNK(told.st_mode):
            found.links.append(relative)
        elif stat.S_ISREG(told.st_mode):
            sizes[relative] = told.st_size
        if len(sizes) + len(found.folders) > MOST_FILES:
            raise GradscopeError(_too_much(root, f"{MOST_FILES:,} files"))
    data = _data(sizes)
    for relative, size in sizes.items():
        written = relative.lower().endswith(NEVER_LINKED)
        if not written and (size > LINKED_FROM or relative in data):
            found.linked.append(relative)
            found.linked_bytes += size
        else:
            found.files.append(relative)
            found.bytes += size
    if found.bytes > MOST_BYTES:
        raise GradscopeError(_too_much(root, f"{MOST_BYTES >> 30} GB"))
    return found


def _too_much(root: Path, much: str) -> str:
    return f"{root} holds more than {much} to be copied: start from a smaller directory, or try --in-place"


def _data(sizes: Mapping[str, int]) -> set[str]:
    """The files in directories that hold a lot and no Python file."""
    code = {folder for file in sizes if file.endswith(".py") for folder in Path(file).parents}
    inside: dict[Path, list[str]] = {}
    for file in sizes:
        without = [folder for folder in Path(file).parents if folder not in code and folder != Path()]
        if without and without[-1] != Path(".git"):
            inside.setdefault(without[-1], []).append(file)
    much = (files for files in inside.values() if sum(sizes[file] for file in files) > DATA_FROM)
    return {file for files in much for file in files}


def _walk(root: Path, found: Survey) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Everything below `root` but folders, which go into `found`."""
    queue = [""]
    while queue:
        folder = queue.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError:
            found.left_out.append(folder)
            continue
        for entry in entries:
            relative = os.path.join(folder, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                yield entry, relative
            elif entry.name in LEFT_OUT:
                found.left_out.append(relative)
            elif folder == ".git" and entry.name in LINKED_FOLDERS:
                found.linked.append(relative)
            else:
                found.folders.append(relative)
                queue.append(relative)


class Workplace:
    """The working directory of the children, below `scratch`: `root` is the real one.

    A snapshot is taken at once, so that all children see the same files whatever is edited meanwhile; `prepare` makes
    the copy anew, always at `place`, so that the children see the same paths. The directories right above show what
    the real ones hold (by links), so `../data` is there.
    """

    def __init__(self, root: Path, scratch: Path, name: str = "copy") -> None:
        self.root, self.survey = root, survey(root)
        free = shutil.disk_usage(scratch).free
        if free < 2.2 * self.survey.bytes:
            raise GradscopeError(
                f"{scratch.parent} has no room for two copies of {root} ({self.survey.bytes >> 20} MB): set TMPDIR to "
                "a larger disk, or try --in-place"
            )
        self._snapshot = scratch / f"{name}-snapshot"
        above = root.parents[min(ABOVE, len(root.parents)) - 1] if root.parents else root
        self.place = scratch / name / root.relative_to(above)
        self._surround(scratch, scratch / name, above)
        self._take()

    @property
    def linked(self) -> list[str]:
        """The links that a script must not write through."""
        return [str(self.place / relative) for relative in self.survey.linked]

    def prepare(self) -> None:
        """The copy as the real directory was at the start."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self._snapshot, self.place, symlinks=True)

    def inside(self, path: str) -> str:
        """A path given on the command line, as the children are to be given it."""
        if not os.path.isabs(path):
            return path
        real = os.path.realpath(path)
        if not real.startswith(str(self.root) + os.sep):
            return path
        return str(self.place / os.path.relpath(real, self.root))

    def _take(self) -> None:
        for folder in ("", *self.survey.folders):
            (self._snapshot / folder).mkdir(parents=True, exist_ok=True)
        for file in self.survey.files:
            try:
                shutil.copy2(self.root / file, self._snapshot / file)
            except OSError:
                self.survey.left_out.append(file)
        for file in self.survey.linked:
            os.symlink(self.root / file, self._snapshot / file)
        for file in self.survey.links:
            os.symlink(self._target(file), self._snapshot / file)

    def _target(self, link: str) -> str:
        """Where a link of the copy leads: the same place in the copy, or the real one outside of it."""
        there = os.readlink(self.root / link)
        meant = os.path.normpath(self.root / os.path.dirname(link) / there)
        if meant == str(self.root) or meant.startswith(str(self.root) + os.sep):
            return os.path.relpath(meant, (self.root / link).parent)
        return meant

    def _surround(self, scratch: Path, mirror: Path, above: Path) -> None:
        """Links to what lies beside the directories on the way to `root`."""
        real, copy = above, mirror
        copy.mkdir(parents=True)
        for part in self.root.relative_to(above).parts:
            try:
                names = [name for name in os.listdir(real) if name not in (part, scratch.name)][:10_000]
            except OSError:
                names = []
            for name in names:
                os.symlink(real / name, copy / name)
            real, copy = real / part, copy / part
            copy.mkdir()
