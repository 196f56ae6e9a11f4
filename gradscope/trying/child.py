"""The child of `gradscope try`: one run of the script, watched, with or without an advice applied to it."""
from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.config import codes, here, read_config
from gradscope.errors import GradscopeError
from gradscope.launch import Launch, Options
from gradscope.plain import sentence
from gradscope.progress import Progress
from gradscope.record.record import Record
from gradscope.reporters.report import Report
from gradscope.rules.catalogue import select
from gradscope.runner import Outcome
from gradscope.trying.links import break_when_written
from gradscope.trying.plan import Plan, Told

if TYPE_CHECKING:
    from gradscope.session import Session
    from gradscope.trying.interventions import Intervention

EVERY = 0.5  # seconds


class Beat(Progress):
    """Tells the parent where the run stands, and ends the process where there is no parent any more."""

    def __init__(self, file: Path) -> None:
        self._file, self._parent, self._at = file, os.getppid(), 0.0

    def due(self) -> bool:
        return time.monotonic() - self._at >= EVERY

    def show(self, record: Record, findings: int) -> None:
        self._at = time.monotonic()
        if os.getppid() != self._parent:
            os._exit(1)
        words = f"step {record.meta.rows:,}"
        if record.streams and len(record.streams[0].rows):
            words += f", loss {record.streams[0].loss[-1]:.4g}"
        with contextlib.suppress(OSError):
            self._file.write_text(words, encoding="utf-8")

    def clear(self) -> None: ...


class Child(Launch):
    """A launch whose report nobody prints, with interventions, an equal start, and an end after so many steps."""

    def __init__(self, plan: Plan) -> None:
        config = read_config(here())
        rules = select(codes(plan.select) or config.select, (*codes(plan.ignore), *config.ignore))
        options = Options(rules, plan.record, limits=config.limits(None, plan.every, None, None))
        super().__init__(plan.target, tuple(plan.arguments), plan.as_module, options)
        self.plan = plan
        self._interventions: list[Intervention] = []
        self._stopped = False
        random.seed(plan.seed)
        np.random.seed(plan.seed)

    def _progress(self) -> Progress:
        return Beat(self.plan.status)

    def _watch(self, session: Session) -> None:
        import torch

        from gradscope.trying.installed import Installed
        from gradscope.trying.interventions import make

        torch.manual_seed(self.plan.seed)
        if self.plan.linked:
            break_when_written(self.plan.linked, torch)
        roster = session.recorder.roster

        def number_of(optimizer: Any) -> int:
            track = roster.get(optimizer)
            return -1 if track is None else track.number

        def known() -> list[Any]:
            return [optimizer for track in roster.living() if (optimizer := track.optimizer()) is not None]

        self._interventions = make(self.plan.treatment, number_of, known)
        installed = Installed(self._interventions)
        stop = None if self.plan.steps is None else _Stop(session, self.plan.steps, self._end)
        super()._watch(session)
        installed.rest()
        if stop is not None:
            stop.rest()

    def _end(self) -> None:
        """End the process here, with the record on disk: nothing of the script's runs any more."""
        self._stopped = True
        self._finish(Outcome("interrupted", 0))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)

    def _finish(self, outcome: Outcome) -> None:
        super()._finish(outcome)
        failure = next((one.failure for one in self._interventions if one.failure), "")
        Told(self._stopped, [one.applied for one in self._interventions], failure).write(self.plan.outcome)

    def _tell(self, report: Report) -> None: ...


class _Stop:
    """Ends the run once it has so many steps: after the last one's `step`, or, where several optimizers may step in
    turn, before the next backward.
    """

    def __init__(self, session: Session, steps: int, end: Any) -> None:
        import torch

        from gradscope.hooks.patching import Patch

        self._recorder, self._steps, self._end, self._owner = session.recorder, steps, end, os.getpid()
        Patch(torch.autograd, "backward", self._backward)  # inside of the recorder's: that has closed the row by then

    def rest(self) -> None:
        """To be called once the recorder's hooks are there."""
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        track = self._recorder.roster.get(optimizer)
        if track is not None and len(self._recorder.tracks) == 1 and self._recorder.row + 1 >= self._steps:
            self._stop()

    def _backward(self, original: Any) -> Any:
        def backward(*args: Any, **kwargs: Any) -> Any:
            if self._recorder.row >= self._steps:
                self._stop()
            return original(*args, **kwargs)

        return backward

    def _stop(self) -> None:
        if os.getpid() == self._owner:
            self._end()


def main(plan: str) -> None:
    """Run the plan in this file; ends as the script does."""
    try:
        child = Child(Plan.read(plan))
    except GradscopeError as error:
        sys.stderr.write(f"gradscope: error: {sentence(str(error))}\n")
        sys.exit(error.exit_code)
    sys.exit(child.run()())
