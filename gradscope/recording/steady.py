"""Rows as nearly all rows of a run are, watched by what could make them different, and entered together.

In the steady state of a loop every gradient is None before backward, backward makes those that it always makes, and
the step uses them. Few readings tell whether a row was such a one: no gradient before its first backward, the usual
number of backwards, the usual gradients at its step, models in the usual mode. What is otherwise ends the steady
state, and the recorder sees that row in full; so it does each row to be measured, and one in `LIMIT` at least. Only
there it shows that gradients are replaced by hand between backward and step, that one of several backwards reaches
nothing any more, or that a parameter which no backward reaches is trainable again. Loops that always do so never have
a steady state.
"""
from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import nn

from gradscope.events import Event, Phase
from gradscope.recording.books import Books
from gradscope.recording.finishing import PlainRow, PlainRows, StepNotes
from gradscope.recording.ledger import Bools, Contribution
from gradscope.recording.look import ID_OF_NONE, Look, release
from gradscope.recording.roster import Roster
from gradscope.recording.stage import Stage
from gradscope.recording.stats import UNSCALED, Readable, Scale
from gradscope.recording.track import Track, holds

FROM = 8  # the row from which on those as rows should be are no longer seen in full,
FULL_ROWS = 8  # except so many after something that was not expected,
LIMIT = 64  # and one in so many: a parameter that is unfrozen, and that no backward reaches, shows in no other
ENTERED = 256  # rows entered together

_GRAD = attrgetter("grad")

_Contributed = tuple[Contribution, Sequence[Readable], Scale]


class Steady:
    """The steady state of one optimizer's rows; `track` is None where there is none.

    `contribute(event)` tells what a backward contributes: see `Recorder`.
    """

    def __init__(
        self, stage: Stage, books: Books, roster: Roster, contribute: Callable[[Event], _Contributed]
    ) -> None:
        self._stage, self._books, self._roster, self._contribute = stage, books, roster, contribute
        self.track: Track | None = None
        self._full_until = FROM  # a row
        self.until = 0  # the first row that is to be seen in full
        self.over = False  # the row at hand has stepped
        self.stepping = False  # its expected step is running
        self.cleared = False  # a zero_grad since the newest step has left no gradient
        self._rows: list[PlainRow] = []  # not handed over yet
        self._made: list[Contribution] = []  # by the backwards of the row at hand
        self._newest: weakref.ref[torch.Tensor] | None = None  # the loss of the newest of them
        self._zero_grad_site = self._backward_site = self._step_site = -1
        self._idle: list[tuple[Track, Look]] = []  # optimizers that take no part so far, and the gradients there then
        self._scale = UNSCALED
        self._backwards = 1  # a row
        self._usual: itemgetter[Any] | None = None  # what has a gradient at the step; None: every parameter
        self._absent = 0
        self._missing: Bools | None = None
        self._trainable: Sequence[bool] | None = None
        self._ids: list[int] = []
        self._modes: list[tuple[weakref.ref[nn.Module], bool]] = []

    # -- beginning --------------------------------------------------------------------------------------------------

    def can_begin(self, track: Track, at_step: Look, notes: StepNotes) -> bool:
        """Whether the row that ends with this step was as rows should be, and the only optimizer's at work.

        What its backwards made must be what the step uses: nothing replaced by hand.
        """
        if not track.began_empty or track.by_closure or not notes.seen == notes.reached > 0:
            return False
        if not track.untouched or at_step.ids != track.made_ids:
            return False
        if notes.row < self._full_until or track.before_backward is not None or not self._stage.calm:
            return False
        return all(other is track or other.number < 0 for other in self._roster.living())  # below 0: idle so far

    def begin(self, track: Track, at_step: Look, notes: StepNotes, until: int) -> None:
        """The next rows are expected to be like the one just finished: before row `until`, which is to be measured."""
        until = min(until, notes.row + LIMIT, next_close_look(notes.row + 1))
        if until <= notes.row + 1:
            return
        self.track, self._backwards, self.until = track, notes.reached, until
        self._ids, self.cleared = at_step.ids, False
        self._usual, self._absent, self._missing, self._trainable = None, 0, None, None
        if not at_step.full:
            present = [i for i, gradient in enumerate(at_step.ids) if gradient]
            self._usual, self._absent = itemgetter(*present, present[0]), len(at_step.ids) - len(present)
            self._missing, self._trainable = ~at_step.present, notes.trainable
        modules = [root.module for root in self._stage.names.roots]
        self._modes = [(ref, module.training) for ref in modules if (module := ref()) is not None]
        others = [other for other in self._roster.living() if other is not track]
        self._idle = [(other, release(other.look(False))) for other in others]
        self._start_row()

    def _start_row(self) -> None:
        self.stepping = False
        self._made, self._newest, self._scale = [], None, UNSCALED
        self._zero_grad_site = self._backward_site = self._step_site = -1

    # -- going on ---------------------------------------------------------------------------------------------------

    def takes(self, event: Event) -> bool:
        """Whether the call is what is expected; then it is taken in here."""
        track, stage, phase = self.track, self._stage, event.phase
        assert track is not None
        if not track.alive or self.stepping and not (phase is Phase.STEP and event.subject is track.optimizer()):
            return False
        if phase is Phase.BACKWARD:
            roots = event.subject
            if stage.row >= self.until or not self._expects_backward(roots):
                return False
            stage.backwards += 1
            contribution, waiting, self._scale = self._contribute(event)
            track.expect(waiting)
            self._made.append(contribution)
            self._newest, self._backward_site = weakref.ref(roots[0]), contribution.site
            stage.tell_always("before_backward", roots, event.site)
        elif phase is Phase.STEP:
            if event.subject is not track.optimizer():
                return self._roster.take(event.subject) is None
            # While stepping: a step that calls its base class's, whose line is the one to name.
            if not event.plain or stage.row >= self.until or not self.stepping and not self._expects_step():
                return False
            self._step_site, self.stepping = self._books.site(event.site), True
        elif self._made or stage.row + self.over >= self.until:
            return False  # what they made may be cleared; or the zero_grad of a row to be seen in full
        elif self._concerns(event.subject):
            self._zero_grad_site = self._books.site(event.site)
            self.cleared = event.plain and event.subject is track.optimizer()  # by torch, which sets them all to None
        return True

    def _concerns(self, subject: Any) -> bool:
        """Whether a zero_grad of `subject` is meant for this optimizer's parameters."""
        assert self.track is not None
        if isinstance(subject, nn.Module):
            return holds(subject, self.track)
        return subject is self.track.optimizer()

    def zero_grad_ended(self, subject: Any) -> None:
        """A zero_grad that was taken in is over, and it is not known yet whether it has left anything."""
        if self.track is not None and self._concerns(subject):
            self.cleared = self._nothing_there(self.track)

    @staticmethod
    def _nothing_there(track: Track) -> bool:
        return list(map(id, map(_GRAD, track.parameters))).count(ID_OF_NONE) == len(track.parameters)

    def stepped(self, track: Track) -> None:
        """The expected step is over, and with it the row."""
        row, sites = self._stage.row, (self._zero_grad_site, self._backward_site, self._step_site)
        self._rows.append(PlainRow(row, tuple(self._made), track.learning_rates(), self._scale, sites))
        track.steps += 1
        track.newest_row = row
        self.over, self.cleared = True, False
        self._start_row()

    # -- what is expected -------------------------------------------------------------------------------------------

    def _expects_backward(self, roots: Sequence[torch.Tensor]) -> bool:
        """One of the usual number, from a loss with a graph; no gradient is there before the first one."""
        if len(roots) != 1 or roots[0].grad_fn is None:
            return False
        if self._made:
            return len(self._made) < self._backwards
        assert self.track is not None
        return self._nothing_there(self.track)

    def _expects_step(self) -> bool:
        """After the usual backwards, with the usual gradients, of the same parameters."""
        track = self.track
        assert track is not None
        if len(self._made) != self._backwards or not track.unchanged():
            return False
        ids = list(map(id, map(_GRAD, track.parameters)))
        if self._usual is None:
            if ID_OF_NONE in ids:
                return False
        elif ids.count(ID_OF_NONE) != self._absent or ID_OF_NONE in self._usual(ids):
            return False
        for ref, training in self._modes:
            module = ref()
            if module is None or module.training is not training:
                return False
        self._ids = ids
        return True

    # -- ending -----------------------------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Let the track have the rows that went by."""
        count, track = len(self._rows), self.track
        if track is None or not count:
            return
        rows = PlainRows(self._rows, track.columns, self._missing, self._trainable)
        track.later("plain_rows", rows, self._at_step())
        self._rows = []
        self._stage.tell("rows_passed", track, count)

    def _at_step(self) -> Look:
        """What was there at the newest step."""
        ids = [0 if i == ID_OF_NONE else i for i in self._ids] if self._absent else self._ids
        return Look(ids, [0] * len(ids), False, not self._absent, False)

    def end(self, expected: bool) -> None:
        """Something else is about to happen: let track and probes know of what was taken in.

        Where that was not expected, some rows are seen in full now.
        """
        track = self.track
        assert track is not None
        self.hand_over()
        self.track, self.over = None, False
        if not expected:
            self._full_until = self._stage.row + FULL_ROWS
        if not track.alive:
            return
        track.zero_grad_site, track.step_site = self._zero_grad_site, self._step_site
        track.maybe_used, track.seen, track.reached = not (self._made or self.cleared), len(self._made), 0
        if self.cleared:
            track.later("zero_grad", self._at_step(), Look.nothing(len(self._ids)))
        if self._made:
            newest = None if self._newest is None else self._newest()
            if newest is not None:
                self._stage.tell("before_backward", (newest,), self._books.sites[self._made[-1].site])
            nothing = Look.nothing(len(self._ids))
            known = [(track, nothing), *((other, was) for other, was in self._idle if other.alive)]
            reached = [one for one, before in known if self._catch_up(one, before)]
            for contribution in self._made:
                self._stage.tell("after_backward", reached, self._books.sites[contribution.site])

    def _catch_up(self, track: Track, before: Look) -> bool:
        """Let a track know of the backwards of the row at hand; whether they have reached it."""
        after = release(track.look(False))
        track.began_empty, track.untouched, track.seen = before.empty, True, len(self._made)
        if after.empty or after.same_as(before) or len(after.ids) != len(before.ids):
            return False
        self._roster.activate(track)
        track.backward_site, track.loss_scale, track.reached = self._backward_site, self._scale, len(self._made)
        track.made_ids = after.ids
        for contribution in self._made:
            track.later("backward", before, after, contribution)
            before = after.earlier()
        return True


def next_close_look(row: int) -> int:
    """The first row, not before `row`, in which module calls and graphs are looked at anew: powers of two from 64."""
    return 1 << max(6, (row - 1).bit_length())
