"""The way in from Python: `watch`, `unwatch`, `pause`."""
from __future__ import annotations

import atexit
import contextlib
import random
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Iterable, Iterator

import torch

from gradscope.config import codes, read_config
from gradscope.diagnosis import Diagnosis
from gradscope.errors import UsageError
from gradscope.findings import Finding
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.record.record import Record
from gradscope.record.run_folder import new_run_folder
from gradscope.reporters import warning
from gradscope.reporters.report import Report
from gradscope.rules.catalogue import RULES, select
from gradscope.session import Session

_WRITES = ("add_scalar", "add_text", "flush")  # what is asked of a user's SummaryWriter


class Scope:
    """A view on the running recording: all of it, or the part that concerns some optimizers.

    Several scopes may be open at once; they share one recording, which ends when the last of them is closed.
    A scope is a context manager, and can be closed twice.
    """

    def __init__(
        self,
        session: Session,
        model: torch.nn.Module | None,
        optimizers: tuple[torch.optim.Optimizer, ...],
        ignored: frozenset[str],
    ) -> None:
        self._session = session
        self.writers: list[Any] = []  # SummaryWriters that the user has given
        self._model = None if model is None else weakref.ref(model)
        self._optimizers = [weakref.ref(o) for o in optimizers]
        self._numbers: set[int] = set()
        self._ignored = ignored
        self._entered = 0
        self._open = True

    @property
    def record(self) -> Record:
        """What has been recorded so far (see `gradscope.record.record.Record`)."""
        return self._session.record

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What has been found so far, causes first."""
        return self._mine(self._session.findings)

    def diagnose(self) -> Diagnosis:
        """Run the rules now."""
        diagnosis = self._session.diagnose()
        return Diagnosis(self._mine(diagnosis.findings), diagnosis.skipped)

    def report(self, width: int = 100) -> str:
        """The report as text; `print(scope.report())`."""
        state = random.getstate()
        from gradscope.reporters import terminal  # only here is rich needed; its import draws random numbers

        random.setstate(state)
        report = self._session.report()
        shown = Report(**{**vars(report), "findings": self._mine(report.findings)})
        return terminal.render(shown, width)

    def timeline(self, step: int | None = None, width: int = 100, every_parameter: bool = False) -> str:
        """The gradients of one step as text, None or their norms, before and after each call of the loop.

        `print(scope.timeline(0))`; without a step, the newest measured one. More than 40 parameters are grouped by
        module unless `every_parameter`. Raises a GradscopeError, in one sentence, where there is no such step.
        """
        state = random.getstate()
        from gradscope.reporters import timeline  # only here is rich needed; its import draws random numbers

        random.setstate(state)
        record = self.record
        if self._optimizers:
            numbers = self._mine_by_number()
            record = replace(record, optimizers=tuple(o for o in record.optimizers if o.number in numbers))
        hint = "every_parameter=True shows each"
        return timeline.render(record, step, width, False, self._session.base, every_parameter, hint)

    def close(self) -> None:
        """End this scope. With the last one all hooks are removed, and the rules run once more."""
        if self._open:
            self._open = False
            _PROCESS.closed(self)
            DISPATCHER.deliver()

    def same(self, model: torch.nn.Module | None, optimizers: tuple[torch.optim.Optimizer, ...]) -> bool:
        """Whether `watch` with these arguments means this scope."""
        mine = None if self._model is None else self._model()
        known = [ref() for ref in self._optimizers]
        return mine is model and len(known) == len(optimizers) and all(a is b for a, b in zip(known, optimizers))

    @property
    def orphaned(self) -> bool:
        """Whether everything it was to watch is gone (a notebook cell has made new ones)."""
        return bool(self._optimizers) and all(ref() is None for ref in self._optimizers)

    def __enter__(self) -> Scope:
        self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._open and self._entered <= 0:
            self._open = False
            _PROCESS.closed(self, "finished" if kind is None else "crashed")
            if kind is None:
                DISPATCHER.deliver()
            else:
                _deliver_quietly()

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<gradscope.Scope {state}, {self._session.recorder.meta.rows} steps, {len(self.findings)} findings>"

    def shows(self, finding: Finding) -> bool:
        """Whether the finding concerns what this scope watches."""
        return bool(self._mine([finding]))

    def _writing(self, writer: Any) -> Scope:
        """The same scope, its curves written into the user's SummaryWriter (None: wherever they go)."""
        if writer is not None and all(writer is not known for known in self.writers):
            self.writers.append(writer)
            self._session.add_writer(writer)
        return self

    def _mine(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        findings = [f for f in findings if f.code not in self._ignored]
        if not self._optimizers:
            return tuple(findings)
        numbers = self._mine_by_number()
        return tuple(f for f in findings if f.optimizer is None or f.optimizer in numbers)

    def _mine_by_number(self) -> set[int]:
        """The numbers of the optimizers given, those that are gone included."""
        for track in self._session.recorder.tracks:
            if any(ref() is track.optimizer() for ref in self._optimizers):
                self._numbers.add(track.number)
        return self._numbers


class _Process:
    """The one recording of this process and the scopes that look at it."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.scopes: list[Scope] = []
        self.outer = False  # the session belongs to `gradscope run`: scopes come and go, it stays

    def closed(self, scope: Scope, status: str = "finished") -> None:
        if scope not in self.scopes:
            return
        if len(self.scopes) == 1 and not self.outer and self.session is not None:
            session, self.session = self.session, None
            session.close(status)  # what it finds at the end is still told to this scope
        self.scopes.remove(scope)
        for writer in scope.writers:
            if self.session is not None and not any(writer is w for other in self.scopes for w in other.writers):
                self.session.release_writer(writer)


_PROCESS = _Process()


def watch(
    model: torch.nn.Module | None = None,
    optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None = None,
    *,
    log_dir: str | Path | None = None,
    every: int | None = None,
    ignore: Iterable[str] | str = (),
    select_codes: Iterable[str] | str = (),
    writer: Any = None,
) -> Scope:
    """Watch a training loop: every zero_grad, backward and step, until the scope is closed.

    With a model and its optimizer(s), only their steps and the losses that reach their parameters; without arguments,
    everything that trains. The same arguments again give the same scope (a notebook cell run twice); inside another
    scope, or under `gradscope run`, the scope is a view on the recording that is already going on.

    `log_dir`: a folder for the record and TensorBoard's curves (nothing is written without it). `writer`: a
    SummaryWriter that takes the curves instead; it stays open, and may be closed after the scope. `every`: measure
    norms at every k-th step (the default chooses k so that measuring costs about 2 % of the loop's time; calls are seen
    at every step). `ignore`, `select_codes`: codes of rules, "GS102" or "GS1".

    Raises UsageError (a ValueError) for arguments of the wrong kind, and for a model without its optimizer.
    """
    optimizers = _checked(model, optimizer)
    if every is not None and (type(every) is not int or every < 1):
        raise UsageError(f"every must be a whole number of steps, 1 or more, not {every!r}")
    if writer is not None and not all(callable(getattr(writer, name, None)) for name in _WRITES):
        raise UsageError(f"writer must be a SummaryWriter, not {type(writer).__name__}")
    selected, ignored = codes(select_codes), codes(ignore)
    config = read_config(Path.cwd())
    rules = select(selected or config.select, (*ignored, *config.ignore))
    for scope in list(_PROCESS.scopes):
        if scope.orphaned:
            scope.close()
        elif scope.same(model, optimizers):
            return scope._writing(writer)
    session = _PROCESS.session
    if session is None:
        folder = None if log_dir is None else _folder(Path(log_dir))
        session = Session(rules, folder, every, base=Path.cwd(), tell=_say, announce=_warn_later, writer=writer)
        session.recorder.roster.restrict(optimizers)
        _PROCESS.session = session
        session.open()
    else:
        session.recorder.roster.widen(optimizers)
    if model is not None:
        session.recorder.stage.names.add_root(model, None, given=True)
    unwanted = frozenset(rule.code for rule in RULES if rule not in rules)
    scope = Scope(session, model, optimizers, unwanted)
    _PROCESS.scopes.append(scope)
    return scope._writing(writer)


def unwatch() -> None:
    """Close all open scopes."""
    for scope in list(_PROCESS.scopes):
        scope.close()


@contextlib.contextmanager
def pause() -> Iterator[None]:
    """Do not watch what happens inside this block; afterwards nothing is assumed about it."""
    DISPATCHER.pause()
    try:
        yield
    finally:
        DISPATCHER.resume()
        if _PROCESS.session is not None:
            _PROCESS.session.recorder.resumed()


def open_outer(session: Session) -> None:
    """Open `session`, and make it the recording that all scopes are views on (for `gradscope run`)."""
    _PROCESS.session, _PROCESS.outer = session, True
    session.open()


def close_outer() -> None:
    """The outer recording is about to be closed: scopes on it have nothing more to see."""
    _PROCESS.session, _PROCESS.outer = None, False
    _PROCESS.scopes.clear()


def _checked(model: Any, optimizer: Any) -> tuple[torch.optim.Optimizer, ...]:
    if model is None and optimizer is None:
        return ()
    if model is not None and not isinstance(model, torch.nn.Module):
        raise UsageError(f"watch(model, optimizer): the model must be a torch.nn.Module, not {type(model).__name__}")
    if optimizer is None:
        raise UsageError("watch(model) needs the optimizer too: watch(model, optimizer), or watch() for everything")
    try:
        given = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
    except TypeError:
        given = [optimizer]
    if not given:
        raise UsageError("watch(model, optimizer): there is no optimizer in the list")
    for one in given:
        if not isinstance(one, torch.optim.Optimizer):
            raise UsageError(
                f"watch(model, optimizer): the optimizer must be a torch.optim.Optimizer, not {type(one).__name__}"
            )
        if not any(group["params"] for group in one.param_groups):
            raise UsageError(f"watch(model, optimizer): the {type(one).__name__} holds no parameters")
    return tuple(given)


def _deliver_quietly() -> None:
    """Where an exception is on its way, or the process ends: a filter's errors are of no use."""
    while DISPATCHER.outbox:
        with contextlib.suppress(Warning):
            DISPATCHER.deliver()


@atexit.register
def _at_exit() -> None:
    for scope in list(_PROCESS.scopes):
        _PROCESS.closed(scope)
    _deliver_quietly()


def _warn_later(finding: Finding) -> None:
    """Warn when the user's call at hand is over: there a filter's error may pass."""
    if any(scope.shows(finding) for scope in _PROCESS.scopes):
        DISPATCHER.outbox.append(lambda: warning.warn(finding))


def _folder(directory: Path) -> Path | None:
    try:
        return new_run_folder(directory, "watch")
    except OSError as error:
        _say(f"{directory} cannot be written ({error.strerror}); the record is kept in memory")
        return None


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"gradscope: {sentence}", file=sys.stderr)
