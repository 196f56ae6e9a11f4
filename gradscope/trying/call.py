"""What `try` and `check` share: the options of the command line, and a call that leaves nothing behind."""
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradscope.rules.base import Rule
from gradscope.trying import children


@dataclass(frozen=True)
class Options:
    """What the command line asked for. `select`, `ignore`: as given; `rules`: the rules that this comes to."""

    rules: tuple[Rule, ...]
    select: str = ""
    ignore: str = ""
    steps: int | None = None
    in_place: bool = False
    show_output: bool = False
    json_file: Path | None = None


def check_target(target: str, as_module: bool) -> None:
    """UsageError where there is no such script."""
    from gradscope.runner import check_script

    if not as_module:
        check_script(target)


def in_scratch(name: str, work: Callable[[Path], int], stopped: Callable[[], None]) -> int:
    """The exit code of `work(folder)`, with a folder of its own that goes however that ends; `stopped` by a signal."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(children.stoppable())
            scratch = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"gradscope-{name}-")))
            stack.callback(_remove, scratch)
            return work(scratch)
        except children.Stopped as ended:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # not while cleaning up
            stopped()
            return 128 + ended.number


def _remove(folder: Path) -> None:
    """Also where something that was killed is still at work."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
