"""Big files stand in the copy of a directory as links: a script that writes one gets a file of its own instead."""
from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR


def break_when_written(links: Iterable[str], torch: ModuleType) -> None:
    """From now on, what opens one of these paths for writing (by Python's `open`, or `torch.save`) does not reach the
    file that it links to. Lasts as long as the process.
    """
    known = {os.path.abspath(link) for link in links}

    def opened(event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or isinstance(args[0], int):
            return
        path, mode, flags = args
        if mode is None:
            writes, empties = bool(flags & _WRITES), bool(flags & os.O_TRUNC)
        else:
            writes, empties = any(letter in mode for letter in "wax+"), "w" in mode
        if writes:
            separate(path, empties)

    def separate(path: Any, empties: bool) -> None:
        try:
            place = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError):
            return
        if place in known and os.path.islink(place):
            known.discard(place)
            if not empties:
                shutil.copyfile(place, place + ".gradscope-part")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place)
            if not empties:
                os.replace(place + ".gradscope-part", place)

    original = torch.save

    @functools.wraps(original)
    def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(f, (str, os.PathLike)):
            separate(f, True)  # it is opened outside of Python
        return original(obj, f, *args, **kwargs)

    torch.save = save  # type: ignore[attr-defined]
    sys.addaudithook(opened)
