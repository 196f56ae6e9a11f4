"""The way in from Python: `watch`, `unwatch`, `pause`."""
from __future__ import annotations

import atexit
import contextlib
import sys
from pathlib import Path
from typing import Any, Iterable, Iterator

import torch

from gradscope.config import codes, here, read_config
from gradscope.errors import UsageError
from gradscope.findings import Finding
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.wrappers import unwrapped
from gradscope.plain import sentence
from gradscope.ranks.joining import join, launched
from gradscope.ranks.telling import Teller
from gradscope.record.run_folder import new_run_folder
from gradscope.reporters import warning
from gradscope.rules.catalogue import RULES, select
from gradscope.saying import put
from gradscope.scope import Scope
from gradscope.session import Session
from gradscope.unwatched import Unwatched

_WRITES = ("add_scalar", "add_text", "flush")  # what is asked of a user's SummaryWriter


class _Process:
    """The one recording of this process and the scopes that look at it."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.scopes: list[Scope] = []
        self.teller = Teller()
        self.outer = False  # the session belongs to `gradscope run`: scopes come and go, it stays

    def closed(self, scope: Scope, error: BaseException | None) -> None:
        """A scope was closed, or left by `error`; what it found last is told now."""
        self.end(scope, "finished" if error is None else "crashed")
        if error is None:
            DISPATCHER.deliver()
        else:
            _deliver_quietly()

    def end(self, scope: Scope, status: str) -> None:
        """Take the scope off the list; with the last one the recording ends."""
        if scope not in self.scopes:
            return
        if len(self.scopes) == 1 and not self.outer and self.session is not None:
            session, self.session = self.session, None
            session.close(status)  # what it finds at the end is still told to this scope
        self.scopes.remove(scope)
        for writer in scope.writers:
            if self.session is not None and not any(writer is w for other in self.scopes for w in other.writers):
                self.session.release_writer(writer)

    def abandon(self) -> None:
        """A scope could not be made: a recording without any ends."""
        if self.session is not None and not self.scopes and not self.outer:
            session, self.session = self.session, None
            with contextlib.suppress(Exception):
                session.close()


_PROCESS = _Process()


def watch(
    model: torch.nn.Module | None = None,
    optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None = None,
    *,
    log_dir: str | Path | None = None,
    budget: float | None = None,
    every: int | None = None,
    memory_mb: float | None = None,
    disk_mb: float | None = None,
    ignore: Iterable[str] | str = (),
    select_codes: Iterable[str] | str = (),
    writer: Any = None,
    replay: bool | None = None,
) -> Scope:
    """Watch a training loop: every zero_grad, backward and step, until the scope is closed.

    With a model and its optimizer(s), only their steps and the losses that reach their parameters; without arguments,
    everything that trains. The same arguments again give the same scope (a notebook cell run twice); inside another
    scope, or under `gradscope run`, the scope is a view on the recording that is already going on.

    `log_dir`: a folder for the record and TensorBoard's curves (nothing is written without it). `writer`: a
    SummaryWriter that takes the curves instead; it stays open, and may be closed after the scope. `budget`: the share
    of the loop's time that statistics, rules and writing may take (0.02, 2 %; calls and losses are watched at every
    step, and come on top; 0: nothing else). `every`: measure norms at every k-th step, whatever that costs.
    `memory_mb`, `disk_mb`: bounds of the record in memory (64) and of the run folder (512). `ignore`, `select_codes`:
    codes of rules, "GS102" or "GS1". `replay`: keep the newest batch, so that a step that makes a NaN is run once more
    and the operation named, with its line (0.2 ms a step, 0.5 ms with ten BatchNorms; on a GPU it waits for each loss).

    Raises UsageError (a ValueError) for arguments of the wrong kind, and for a model without its optimizer. Any other
    error of ours is said once, and the scope that comes back has nothing to tell: the training goes on.
    """
    try:
        bounds = (every, memory_mb, disk_mb, replay)
        return _watch(model, optimizer, log_dir, budget, bounds, ignore, select_codes, writer)
    except UsageError:
        raise
    except Exception as error:
        _say(f"watching could not begin: {type(error).__name__}: {error}; the training goes on untouched")
        _PROCESS.abandon()
        return Unwatched(error)


def _watch(
    model: torch.nn.Module | None,
    optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None,
    log_dir: str | Path | None,
    budget: float | None,
    bounds: tuple[int | None, float | None, float | None, bool | None],
    ignore: Iterable[str] | str,
    select_codes: Iterable[str] | str,
    writer: Any,
) -> Scope:
    optimizers = _checked(model, optimizer)
    if writer is not None and not all(callable(getattr(writer, name, None)) for name in _WRITES):
        raise UsageError(f"writer must be a SummaryWriter, not {type(writer).__name__}")
    selected, ignored = codes(select_codes), codes(ignore)
    config = read_config(here())
    rules = select(selected or config.select, (*ignored, *config.ignore))
    percent = 100 * budget if isinstance(budget, (int, float)) and not isinstance(budget, bool) else budget
    limits = config.limits(percent, *bounds)
    for scope in list(_PROCESS.scopes):
        if scope.orphaned:
            scope.close()
        elif scope.same(model, optimizers):
            return scope.writing(writer)
    session = _PROCESS.session
    if session is None:
        folder = None if log_dir is None else _folder(Path(log_dir))
        session = Session(rules, folder, limits, base=here(), tell=_say, announce=_warn_later, writer=writer)
        session.recorder.roster.restrict(optimizers)
        _PROCESS.session = session
        _PROCESS.teller.begin()
        session.open()
    else:
        session.recorder.roster.widen(optimizers)
    if model is not None:
        session.recorder.stage.names.add_root(model, None, given=True)
    unwanted = frozenset(rule.code for rule in RULES if rule not in rules)
    scope = Scope(session, model, optimizers, unwanted, _PROCESS.closed)
    _PROCESS.scopes.append(scope)
    return scope.writing(writer)


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


def recording_of_run() -> bool:
    """Whether all scopes are views on the recording of `gradscope run`, which reports by itself."""
    return _PROCESS.outer


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
    given = [unwrapped(one) for one in given]
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
        _PROCESS.end(scope, "finished")
    _deliver_quietly()


def _warn_later(finding: Finding) -> None:
    """Warn when the user's call at hand is over: there a filter's error may pass. Of many processes one warns."""
    if any(scope.shows(finding) for scope in _PROCESS.scopes) and _PROCESS.teller.first(finding.id):
        DISPATCHER.outbox.append(lambda: _warn(finding))


def _warn(finding: Finding) -> None:
    """Raises nothing but the warning itself, where the user's filter wants that."""
    try:
        warning.warn(finding)
    except Warning:
        raise
    except Exception as error:
        _say(f"{finding.code} could not be told as a warning: {type(error).__name__}: {error}")


def _folder(directory: Path) -> Path | None:
    try:
        process = launched()
        return new_run_folder(directory, "watch") if process is None else join(directory, "watch", process).path
    except OSError as error:
        _say(f"{directory} cannot be written ({error.strerror}); the record is kept in memory")
        return None


def _say(told: str) -> None:
    with contextlib.suppress(Exception):
        put(f"gradscope: {sentence(told)}\n", sys.stderr)
