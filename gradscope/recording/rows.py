"""Rows: when one is over, what is due then, and what it has cost."""
from __future__ import annotations

import time
from collections.abc import Callable

from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.record.record import Meta
from gradscope.recording.books import Books
from gradscope.recording.roster import Roster
from gradscope.recording.sampling import FIRST_ROWS, Sampling
from gradscope.recording.stage import Stage
from gradscope.recording.steady import ENTERED, LIMIT, Steady, next_close_look
from gradscope.recording.streams import Partition

READ_OUT_ROWS = 16  # after the first rows, unmeasured ones are read out and replayed together
LOOK_UP_EVERY = 0.25  # seconds: so often is somebody asked whether something is due by the clock
UPDATE_EVERY = 16  # after the first rows, each so manieth measured row measures updates too
_NO_TRIGGERS: frozenset[str] = frozenset()


class Rows:
    """Closes rows, enters them into the books, and calls `on_row(triggers)`.

    That is called once there are as many rows as it has returned, and a few times a second. `stepped` are the numbers
    of the optimizers that have stepped in the row at hand.
    """

    def __init__(
        self,
        stage: Stage,
        books: Books,
        roster: Roster,
        steady: Steady,
        sampling: Sampling,
        meta: Meta,
        on_row: Callable[[frozenset[str]], int],
    ) -> None:
        self.partition = Partition()
        self.stepped: set[int] = set()
        self._stage, self._books, self._roster, self._steady = stage, books, roster, steady
        self._sampling, self._meta, self._on_row = sampling, meta, on_row
        self._stepped_before: set[int] = set()
        self._nothing_due_until = 0  # a row
        self._look_up_at = 0.0  # seconds
        self._accounted = self._finished = 0
        self._unread = False  # rows seen in full wait to be entered
        self._triggers: set[str] = set()
        self._measured_rows = 0
        self._started = time.perf_counter()
        self._spent = 0.0

    # -- which are measured -----------------------------------------------------------------------------------------

    def measured(self) -> bool:
        """Whether the row at hand is."""
        return self._sampling.measured(self._stage.row)

    def next_measured(self) -> bool:
        """Whether the row is measured that a zero_grad belongs to: after a step, that is the next one."""
        return self._sampling.measured(self._stage.row + bool(self.stepped))

    def measures_updates(self) -> bool:
        """Whether the row at hand, a measured one, measures updates too."""
        row = self._stage.row
        return row < FIRST_ROWS or self._sampling.whole(row) or self._measured_rows % UPDATE_EVERY == 0

    @property
    def newest(self) -> int:
        """The newest row that has stepped, it may be open still; -1: none has."""
        return self._stage.row - (not (self.stepped or self._steady.over))

    # -- the steady state -------------------------------------------------------------------------------------------

    def unsettle(self, expected: bool = False) -> None:
        """The steady state, if there is one, is over."""
        if self._steady.track is not None:
            if self._steady.over:
                self.stepped = {self._steady.track.number}
            self._steady.end(expected)

    # -- their end --------------------------------------------------------------------------------------------------

    def finish(self, wait: bool = False) -> None:
        """Enter into the books what has happened so far; the row at hand stays open.

        What an accelerator has not computed yet comes later, unless it is waited for.
        """
        self._finished, self._unread = self._stage.row, False
        self._steady.hand_over()
        self._triggers |= self._books.finish(self._stage.row, wait)

    def close(self) -> None:
        """The row at hand is over."""
        steady, stage = self._steady, self._stage
        if steady.over:
            steady.over = False
            due = min(self._nothing_due_until, steady.until)  # a row seen in full is accounted for by itself
            if stage.row + 1 < due and not stage.triggers and DISPATCHER.now < self._look_up_at:
                stage.row += 1
                self._meta.rows = stage.row
                return
            if stage.row - self._finished >= ENTERED:
                self.finish()
        elif steady.track is not None and self._unread:
            self.finish()
        elif steady.track is None or stage.row - self._finished >= ENTERED:
            self._unread = steady.track is None  # what was unusual must not wait for the steady state to end
            if stage.row < FIRST_ROWS or stage.row % READ_OUT_ROWS == 0 or self.measured():
                self.finish()
        self._end()

    def _end(self) -> None:
        stage = self._stage
        if self.stepped != self._stepped_before and self.stepped:
            self.partition.row(self.stepped)
            self._stepped_before = self.stepped
        self.stepped = set()
        self._account()
        if self.measured():
            self._measured_rows += 1
        stage.row += 1
        self._meta.rows = stage.row
        if stage.row == next_close_look(stage.row):
            self.unsettle(expected=True)
            stage.look_closely()
        if self._steady.track is not None and not self._steady.track.alive:
            self.unsettle()
        self._roster.bury()
        self._books.forget_the_dead()
        DISPATCHER.patch_late()
        self.notify()
        now = time.perf_counter()
        self._look_up_at = now + LOOK_UP_EVERY
        self._started, self._spent = now, DISPATCHER.spent()
        self._accounted = stage.row

    def _account(self) -> None:
        """Let the sampling know what the rows since the last time have cost."""
        now, spent = time.perf_counter(), DISPATCHER.spent()
        rows = self._stage.row + 1 - self._accounted
        cost, elapsed = spent - self._spent, now - self._started
        self._sampling.rows_done(self._accounted, rows, cost, elapsed, self.partition.count)

    def passed(self, seconds: float) -> None:
        """The loop has stood still for so long, for reasons of its own."""
        self._started += seconds
        self._look_up_at += seconds

    def notify(self) -> None:
        """Tell `on_row`, and why."""
        stage, triggers = self._stage, _NO_TRIGGERS
        if self._triggers or stage.triggers:
            triggers = frozenset(self._triggers | stage.triggers)
            self._triggers.clear()
            stage.triggers.clear()
        due = self._on_row(triggers)
        self._nothing_due_until = min(due, stage.row + LIMIT, self._sampling.next_choice)

    def suspect(self) -> None:
        """Something was found, or a loss stands out: the row at hand and the next ones are measured whole."""
        row = self._stage.row
        self._sampling.suspect(row)
        self._steady.until = min(self._steady.until, self._sampling.next_measured(row))
