"""What `watch` gives back: a view on the recording that is going on."""
from __future__ import annotations

import random
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Iterable

import torch

from gradscope.diagnosis import Diagnosis
from gradscope.findings import Finding
from gradscope.record.record import Record
from gradscope.reporters import notebook
from gradscope.reporters.notebook import Shown
from gradscope.reporters.report import Report, plural
from gradscope.session import Session


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
        closed: Callable[[Scope, BaseException | None], None],
    ) -> None:
        self._session, self._closed = session, closed
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

    def log(self, **metrics: Any) -> None:
        """Hand in numbers that the loop itself computes: `scope.log(val_loss=0.42)`.

        They belong to the newest step, are kept in the record and the run folder, and shown in TensorBoard. What is
        called a validation loss (val_loss, valid_loss, test_loss, eval_loss, "val/loss"...) is judged: GS901. Takes
        numbers, numpy's too, and tensors with one value (of one on an accelerator a copy, which is read later). What is
        no number is not recorded, and said once; a loop is not broken by that.
        """
        numbers = tuple(sorted(n for n in self._mine_by_number() if n >= 0)) if self._optimizers else ()
        self._session.logged(metrics, numbers, sys._getframe(1))

    def report(self, width: int = 100) -> Shown:
        """The report as text: `print(scope.report())`. A notebook shows what a cell ends with as HTML."""
        state = random.getstate()
        from gradscope.reporters import terminal  # only here is rich needed; its import draws random numbers

        random.setstate(state)
        report = self._report()
        return Shown.of(terminal.render(report, width), notebook.render(report))

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
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """Raises nothing but the user's own errors: warnings that a filter makes so."""
        self._open = False
        try:
            self._closed(self, error)
        except Warning:
            raise
        except Exception as failure:
            self._session.give_up(failure)

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
            self._end(error)

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        steps, findings = self._session.recorder.meta.rows, len(self.findings)
        return f"<gradscope.Scope {state}, {plural(steps, 'step')}, {plural(findings, 'finding')}>"

    def _repr_html_(self) -> str:
        """What a notebook shows where a cell ends with the scope: the report as it stands."""
        return notebook.render(self._report())

    def _report(self) -> Report:
        report = self._session.report()
        return Report(**{**vars(report), "findings": self._mine(report.findings)})

    def shows(self, finding: Finding) -> bool:
        """Whether the finding concerns what this scope watches."""
        return bool(self._mine([finding]))

    def writing(self, writer: Any) -> Scope:
        """The same scope, its curves written into the user's SummaryWriter (None: wherever they go)."""
        if writer is not None and all(writer is not known for known in self.writers):
            self.writers.append(writer)
            self._session.add_writer(writer)
        return self

    def release_writers(self) -> None:
        """Write what is left into the user's SummaryWriters, and let go of them: they are about to be closed."""
        writers, self.writers = self.writers, []
        for writer in writers:
            self._session.release_writer(writer)

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
