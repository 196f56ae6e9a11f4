"""One training by a trainer, watched: what the callbacks of all trainers share."""
from __future__ import annotations

import atexit
import functools
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from gradscope.errors import UsageError
from gradscope.findings import Finding
from gradscope.hooks.processes import place
from gradscope.hooks.wrappers import unwrapped
from gradscope.plain import sentence
from gradscope.saying import put
from gradscope.scope import Scope
from gradscope.watching import recording_of_run, watch

Logger = Callable[[Mapping[str, float]], None]
Hook = TypeVar("Hook", bound=Callable[..., None])


def contained(hook: Hook) -> Hook:
    """A hook that a trainer calls. It raises what the user has asked for only: errors in the options, and warnings that
    a filter makes errors of."""

    @functools.wraps(hook)
    def safe(self: Watching, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except (UsageError, Warning):
            raise
        except Exception as error:
            self._watched.failed(error)

    return cast(Hook, safe)


class Watched:
    """From the trainer's first step to its last. Nothing in here may raise into the training.

    The options are those of `watch`; `report`: print the report on stderr at the end. Neither scope nor trainer are
    pickled or copied with it: trainers copy their callbacks.
    """

    def __init__(self, report: bool = True, **options: Any) -> None:
        self.options, self._report = options, report
        self.scope: Scope | None = None
        self.findings: tuple[Finding, ...] = ()
        self._logged: set[str] = set()
        self._last: Scope | None = None
        self._failed = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "scope": None, "_last": None, "_logged": set()}

    @property
    def last(self) -> Scope | None:
        """The scope of the training at hand, or of the newest one."""
        return self.scope or self._last

    def begin(self, model: Any, optimizers: Iterable[Any], writer: Any = None) -> None:
        """Training is about to begin."""
        self.end()
        mine = [unwrapped(optimizer) for optimizer in optimizers]
        mine = [o for o in mine if isinstance(o, torch.optim.Optimizer) and any(g["params"] for g in o.param_groups)]
        known = isinstance(model, torch.nn.Module) and bool(mine)
        try:
            given = (model, mine) if known else (None, None)
            self.scope = watch(*given, writer=writer, **self.options)
        except UsageError as error:  # of the options
            raise UsageError(str(error).replace("watch(", "GradscopeCallback(")) from None
        self._logged.clear()
        atexit.register(self._at_exit)

    def metrics(self, values: Mapping[str, Any]) -> None:
        """What the trainer has measured on data that it does not train on."""
        numbers = {name: value for name, value in values.items() if _is_number(value)}
        if self.scope is not None and numbers:
            self.scope.log(**numbers)

    def tell(self, log: Logger) -> None:
        """Hand findings that are new to the trainer's own logger: gradscope/GS301 = the step since which."""
        if self.scope is None:
            return
        roots = [f for f in self.scope.findings if f.severity != "info" and f.caused_by is None]
        new = [f for f in roots if f.id not in self._logged]
        if new:
            self._logged.update(f.id for f in new)
            log({f"gradscope/{f.code}": float(f.steps[0]) for f in new})

    def failed(self, error: Exception) -> None:
        """Say so, once."""
        if not self._failed:
            self._failed = True
            told = f"the callback failed: {type(error).__name__}: {error}; the training goes on untouched"
            put(f"gradscope: {sentence(told)}\n", sys.stderr)

    def release_writer(self) -> None:
        """The trainer is about to close its SummaryWriter."""
        if self.scope is not None:
            self.scope.release_writers()

    def end(self, error: BaseException | None = None, log: Logger | None = None) -> None:
        """Training is over, or left by `error`; safe to call twice."""
        scope = self.scope
        if scope is None:
            return
        atexit.unregister(self._at_exit)
        try:
            if error is None:
                scope.close()
            else:
                scope.__exit__(type(error), error, None)
            if log is not None:
                self.tell(log)
        finally:
            self.scope, self._last, self.findings = None, scope, scope.findings
            here = place()
            if self._report and not recording_of_run() and (here is None or here.rank == 0):
                _print(scope)

    def _at_exit(self) -> None:
        self.end(getattr(sys, "last_value", None))


class Watching:
    """What the callbacks of all trainers are made with, and tell."""

    def __init__(
        self,
        *,
        log_dir: str | Path | None = None,
        budget: float | None = None,
        every: int | None = None,
        memory_mb: float | None = None,
        disk_mb: float | None = None,
        ignore: Iterable[str] | str = (),
        select_codes: Iterable[str] | str = (),
        replay: bool | None = None,
        log: bool = True,
        report: bool = True,
    ) -> None:
        super().__init__()
        self._log = log
        self._watched = Watched(
            report, log_dir=log_dir, budget=budget, every=every, memory_mb=memory_mb, disk_mb=disk_mb, ignore=ignore,
            select_codes=select_codes, replay=replay,
        )  # fmt: skip

    @property
    def scope(self) -> Scope | None:
        """The scope of the training at hand, or of the newest one: its record, its timeline, its report."""
        return self._watched.last

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What has been found in that training so far, causes first."""
        return self._watched.findings if self._watched.scope is None else self._watched.scope.findings


def _print(scope: Scope) -> None:
    put(scope.report(), sys.stderr)


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isinf(value)
