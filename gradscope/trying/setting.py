"""Where and as what the script is run: in the copies made of its directories, or in place."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gradscope.reporters.report import plural
from gradscope.trying.workplace import Workplace

NOT_HELD_BACK = (
    "not held back: what it writes to absolute paths or outside of this directory, and what it sends over the network "
    "(experiment trackers are told to stay offline)"
)


class Setting:
    """`place`: the children's working directory. `target`: the script (or module) as they are given it."""

    def __init__(self, target: str, as_module: bool, scratch: Path, in_place: bool) -> None:
        self.start, self.target = Path.cwd(), target
        self.place, self._copies = self.start, list[Workplace]()
        if in_place:
            return
        home = self.start if as_module else Path(os.path.realpath(target)).parent
        root = home if _below(self.start, home) else self.start
        copy = Workplace(root, scratch)
        self._copies.append(copy)
        self.place = copy.place / self.start.relative_to(root)
        if as_module:
            return
        if _below(home, root):
            self.target = copy.inside(target)
        else:
            beside = Workplace(home, scratch, "script")
            self._copies.append(beside)
            self.target = str(beside.place / os.path.basename(target))

    @property
    def linked(self) -> list[str]:
        """The links in the copies that must not be written through."""
        return [link for copy in self._copies for link in copy.linked]

    def prepare(self) -> None:
        """Everything as it was at the start."""
        for copy in self._copies:
            copy.prepare()

    def real(self, text: str) -> str:
        """Text in which the places of the copies are those of the real directories."""
        for copy in self._copies:
            text = text.replace(str(copy.place), str(copy.root))
        return text

    def notices(self) -> Sequence[str]:
        """What is to be said before anything runs."""
        if not self._copies:
            sentence = "each run is in this directory itself: what the script writes, it writes each time"
            return sentence, NOT_HELD_BACK
        told = []
        for copy in self._copies:
            found = copy.survey
            sentence = f"each run gets a copy of {copy.root} ({plural(len(found.files), 'file')}, {_size(found.bytes)}"
            if found.linked_bytes:
                big = sum(not name.startswith(".git" + os.sep) for name in found.linked)
                sentence += f"; {plural(big, 'large or data file')}, {_size(found.linked_bytes)}, only linked"
            names = [n for n in found.left_out if "__pycache__" not in n]
            if names:
                sentence += f"; without {', '.join(names[:5])}" + (" ..." if len(names) > 5 else "")
            told.append(sentence + ")")
        return (*told, NOT_HELD_BACK)


def _below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _size(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.3g} kB"
