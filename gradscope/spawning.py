"""The workers that a watched program starts by `torch.multiprocessing.spawn`: each is a rank, with a part of its run.

What a worker runs is called as torch would call it, from outside of where torch catches: no traceback tells of us.
"""
from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope.config import Limits
from gradscope.ranks.claim import Claim
from gradscope.ranks.gathering import UNWATCHED
from gradscope.record.search import part_of
from gradscope.rules.base import Rule
from gradscope.signals import Termination

if TYPE_CHECKING:
    from gradscope.session import Session

_TERMINATED = 128 + signal.SIGTERM
_ENDS = {0: "finished", 128 + signal.SIGINT: "interrupted"}  # by exit code


@dataclass(frozen=True)
class Settings:
    """What a worker needs in order to be watched as its parent is."""

    folder: Path
    rules: tuple[Rule, ...]
    limits: Limits
    script: str
    argv: tuple[str, ...]
    base: Path


@dataclass(frozen=True)
class Worker:
    """Stands in for torch's `_wrap(function, index, arguments, error file)`; it is pickled on its way to the worker."""

    settings: Settings
    original: Callable[..., None] | None = field(default=None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Worker, (self.settings,)

    def __call__(self, function: Callable[..., Any], index: int, *more: Any) -> None:
        if self.original is not None:  # it was not pickled: in a forked child, whose recording is its parent's
            self.original(function, index, *more)
            return
        session = self._open(index)
        run = vars(_module())["_wrap"]
        if session is None:
            run(function, index, *more)
            return
        outcome = ("finished", 0)
        with Termination(
            lambda: _close(session, ("interrupted", _TERMINATED)), lambda: session.stuck("interrupted", _TERMINATED)
        ) as termination:
            try:
                run(function, index, *more)
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
                outcome = (_ENDS.get(code, "crashed"), code)
                raise
            except BaseException:
                outcome = ("crashed", 1)
                raise
            finally:
                with termination.finishing():
                    _close(session, outcome)

    def _open(self, index: int) -> Session | None:
        """Watch; None where that fails: it is said in the report."""
        how = self.settings
        try:
            from gradscope.session import Session
            from gradscope.watching import open_outer

            part = part_of(how.folder, index)
            Claim(part)
            notes: list[str] = []
            session = Session(how.rules, part, how.limits, how.script, how.argv, how.base, notes.append)
            session.recorder.meta.notes = notes
            open_outer(session)
            return session
        except Exception:
            with contextlib.suppress(OSError):
                (how.folder / UNWATCHED).touch()
            return None


@contextlib.contextmanager
def spawned(settings: Settings | None) -> Iterator[None]:
    """Meanwhile workers are watched (None: they are not)."""
    module = _module()
    if module is None or settings is None or not callable(getattr(module, "_wrap", None)):
        yield
        return
    original = module._wrap
    worker = Worker(settings, original)
    module._wrap = worker
    try:
        yield
    finally:
        if module._wrap is worker:
            module._wrap = original


def _module() -> Any:
    """Where `torch.multiprocessing.spawn` is defined: that name itself is a function."""
    return sys.modules.get("torch.multiprocessing.spawn")


def _close(session: Session, outcome: tuple[str, int]) -> None:
    from gradscope.watching import close_outer

    close_outer()
    session.close(*outcome)
