"""The recorder: takes the loop's events, looks at the gradients around each, and says what belongs to which row.

A row opens at the first backward after a step and closes at the last step before the next backward. Rows have two
phases: looks are taken at once, their numbers are read out together when the row closes, and only then does the ledger
derive the states (`Track.replay`).
"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import torch

from gradscope.events import Event, Phase
from gradscope.facts.loop import SkippedStep
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.probes.base import Probe
from gradscope.record.record import Meta, Record
from gradscope.recording.books import Books, Sink
from gradscope.recording.finishing import StepNotes
from gradscope.recording.ledger import Contribution
from gradscope.recording.look import Look, release
from gradscope.recording.losses import ScaledLosses
from gradscope.recording.memory import room_for_copies
from gradscope.recording.naming import variable_name
from gradscope.recording.roster import Roster
from gradscope.recording.sampling import FIRST_ROWS, Sampling
from gradscope.recording.stage import Stage
from gradscope.recording.stats import UNSCALED, Readable, Scale, on_host
from gradscope.recording.steady import ENTERED, LIMIT, Steady, next_close_look
from gradscope.recording.streams import Partition
from gradscope.recording.track import LossCell, Track, holds

READ_OUT_ROWS = 16  # after the first rows, unmeasured ones are read out and replayed together
READ_OUT_EVERY = 64  # backwards without a step, so that waiting looks do not pile up
LOOK_UP_EVERY = 0.25  # seconds: so often is somebody asked whether something is due by the clock
UPDATE_EVERY = 16  # after the first rows, each so manieth measured row measures updates too
_NO_TRIGGERS: frozenset[str] = frozenset()


class Recorder:
    """Implements the dispatcher's Listener.

    `roster` knows the optimizers, `stage` tells the probes, `books` keep the rows. `on_row(triggers)` is called after
    finished rows: once there are as many as it has returned, and a few times a second. `on_failure(error)` is called
    once if something in here breaks.
    """

    def __init__(
        self,
        sampling: Sampling,
        probes: Sequence[Probe],
        sink: Sink,
        on_row: Callable[[frozenset[str]], int],
        on_failure: Callable[[BaseException], None],
        memory: int,
    ) -> None:
        self.sampling = sampling
        self.partition = Partition()
        self.roster = Roster()
        self.meta = Meta(optimizers=self.roster.kinds, strides=sampling.changes)
        self.stage = Stage(probes, self.roster, self.meta.blind)
        self.books = Books(self.roster, sink, memory)
        self._on_row, self._on_failure = on_row, on_failure
        self._scaled = ScaledLosses()
        self._stepped: set[int] = set()
        self._stepped_before: set[int] = set()
        self._steady = Steady(self.stage, self.books, self.roster, self._contribute)
        self._nothing_due_until = 0  # a row
        self._look_up_at = 0.0  # seconds
        self._rows_accounted = self._finished = 0
        self._unread = False  # rows seen in full wait to be entered
        self._unstepped = 0  # backwards since a step
        self._contribution: Contribution | None = None
        self._scale = UNSCALED
        self._triggers: set[str] = set()
        self._measured_rows = 0
        self._row_started = time.perf_counter()
        self._row_spent = 0.0

    @property
    def row(self) -> int:
        """The row at hand."""
        return self.stage.row

    @property
    def tracks(self) -> Sequence[Track]:
        """The optimizers watched that are still there."""
        return self.roster.living()

    # -- the dispatcher's Listener ----------------------------------------------------------------------------------

    def optimizer_created(self, optimizer: torch.optim.Optimizer) -> None:
        self._unsettle()
        self.roster.born(optimizer)
        self.stage.look_closely()

    def begin(self, event: Event) -> bool:
        steady = self._steady
        if event.phase is Phase.BACKWARD and (steady.over or self._stepped):
            self._close_row()
        if steady.track is not None:
            if steady.takes(event):
                return event.phase is not Phase.ZERO_GRAD or steady.cleared
            self._unsettle(expected=self.row + steady.over >= steady.until)
        self.roster.adopt()
        if event.phase is Phase.BACKWARD:
            self._backward_begins(event)
        elif event.phase is Phase.STEP:
            self._step_begins(event)
        else:
            for track in self.tracks:
                track.read_parameters()
            for track in self._concerned(event.subject):
                measured = self._next_measured()
                if measured or track.keeps_gradients or not holds(event.subject, track):
                    track.before_zero_grad = track.look(measured, measured)
        return False

    def end(self, event: Event) -> None:
        if event.phase is Phase.BACKWARD:
            self._backward_ends(event)
        elif self._steady.track is not None:
            self._steady.zero_grad_ended(event.subject)
        elif event.phase is Phase.ZERO_GRAD:
            self._zero_grad_ends(event)

    def failed(self, error: BaseException) -> None:
        self.stage.trace.stop()
        self._on_failure(error)

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        self._scaled.scaled(scaled, loss)

    def closure_returned(self, optimizer: torch.optim.Optimizer) -> None:
        self._unsettle()
        track = self.roster.get(optimizer)
        if track is None or track.before_step is None:
            return
        track.by_closure = True
        measured = self._measured()
        release(track.before_step)
        track.before_step = track.look(measured, measured)
        track.later("closure_returned", track.before_step)
        track.maybe_used = True

    def scaler_stepped(self, scaler: Any, optimizer: torch.optim.Optimizer, ran: bool) -> None:
        track = self.roster.get(optimizer)
        if track is not None and not ran:
            self._unsettle()
            self.stage.emit(SkippedStep(self.row, track.number))
            self.stage.tell("skipped_step", track)

    def scheduler_stepped(self, scheduler: Any) -> None:
        self.roster.adopt()
        track = self.roster.get(getattr(scheduler, "optimizer", None))
        if track is not None:
            self.stage.tell("scheduler_stepped", track, scheduler)

    def backward_failed(self, error: BaseException, event: Event | None) -> None:
        if event is not None:
            self._unsettle()
            self.stage.tell("backward_failed", error, event.site)

    # -- the steady state -------------------------------------------------------------------------------------------

    def _unsettle(self, expected: bool = False) -> None:
        """The steady state, if there is one, is over."""
        if self._steady.track is not None:
            if self._steady.over:
                self._stepped = {self._steady.track.number}
            self._steady.end(expected)

    # -- ZERO_GRAD --------------------------------------------------------------------------------------------------

    def _zero_grad_ends(self, event: Event) -> None:
        site = self.books.site(event.site)
        for track in self._concerned(event.subject):
            before, track.before_zero_grad = track.before_zero_grad, None
            after = release(track.look(self._next_measured()))
            if before is not None and after.same_as(before) and not holds(event.subject, track):
                release(before)
                continue  # another model's
            if before is not None:
                release(before)
            else:  # an unmeasured row of a loop whose zero_grad has always left None so far
                track.measure(after)
                before = after
            track.keeps_gradients = track.keeps_gradients or not after.empty
            track.later("zero_grad", before, after)
            # What zero_grad touched is zero now: nothing used is left, unless it passed some parameters by.
            track.maybe_used = track.maybe_used and not (after.empty or _all_touched(before, after))
            track.zero_grad_site = site
            track.left_zero = None if after.empty else after
            if track.number >= 0 and (event.subject is track.optimizer() or not after.same_as(before)):
                self.stage.tell("zero_grad", track)

    def _concerned(self, subject: Any) -> Sequence[Track]:
        """The optimizers whose gradients a zero_grad of `subject` may clear."""
        own, tracks = self.roster.get(subject), self.tracks
        if own is None or len(tracks) == 1:
            return tracks
        mine = own.parameter_ids
        return [t for t in tracks if t is own or not mine.isdisjoint(t.parameter_ids)]

    # -- BACKWARD ---------------------------------------------------------------------------------------------------

    def _backward_begins(self, event: Event) -> None:
        self._unstepped += 1
        if self._unstepped % READ_OUT_EVERY == 0:
            self.finish_rows()
        self.stage.backward_begins(event.subject)
        measured = self._measured()
        self._contribution, waiting, self._scale = self._contribute(event)
        for track in self.tracks:
            track.read_parameters()
            track.before_backward = track.look(measured, measured or track.maybe_used)
            if track.seen == 0:
                track.began_empty, track.untouched = track.before_backward.empty, True
            elif track.before_backward.ids != track.made_ids:
                track.untouched = False
            track.seen += 1
            if track.before_backward.empty:
                track.maybe_used = False
            track.expect(waiting)
        self.stage.tell("before_backward", event.subject, event.site)

    def _contribute(self, event: Event) -> tuple[Contribution, Sequence[Readable], Scale]:
        """The backward at hand; what of it is still on its way; the scale of the gradients to come."""
        number = self.meta.backwards = self.stage.backwards
        roots, site = event.subject, self.books.site(event.site)
        node = roots[0].grad_fn if roots else None
        course = self.books.course(site, "" if node is None else node.name())
        root = roots[0] if len(roots) == 1 and event.plain else None
        if root is None or root.numel() != 1 or root.is_complex():
            return Contribution(number, site, False, course), (), UNSCALED
        contribution = Contribution(number, site, True, course)
        loss, scale = self._scaled.unscaled(root)
        if on_host(loss):
            contribution.loss = loss.item()
            if not isfinite(contribution.loss):
                self.stage.tell("loss_not_finite", roots, event.site)
            return contribution, (), scale
        return contribution, (scale, LossCell(loss, contribution)), scale

    def _backward_ends(self, event: Event) -> None:
        reached = []
        for track in self.tracks:
            if track.before_backward is not None and self._backward_reached(track):
                reached.append(track)
            track.before_backward = None
        self.stage.tell("after_backward", reached, event.site)
        self._contribution = None
        self.stage.backward_ended()
        if self.stage.triggers:  # there may be no row to wait for
            self._notify()

    def _backward_reached(self, track: Track) -> bool:
        before, contribution = track.before_backward, self._contribution
        assert before is not None and contribution is not None
        after = release(track.look(before.drawn))
        release(before)
        if after.same_as(before):
            if track.maybe_used:
                track.later("sync", before)
            return False
        if after.drawn:
            track.measure(after, self._scale)
        self.roster.activate(track)
        track.later("backward", before, after, contribution)
        track.made_ids = after.ids
        track.reached += 1
        track.loss_scale = self._scale
        track.backward_site = contribution.site
        return True

    # -- STEP -------------------------------------------------------------------------------------------------------

    def _step_begins(self, event: Event) -> None:
        optimizer = event.subject
        track = self.roster.take(optimizer)
        if track is None:
            return
        self.roster.activate(track)
        track.step_site = self.books.site(event.site)
        if track.number in self._stepped and track.seen == 0:
            self._close_row()  # a step without a backward since its last one: a row of its own
        if track.before_backward is not None and self._backward_reached(track):  # a step inside backward
            track.before_backward = release(track.look(False))
        measured = self._measured()
        track.before_step, track.by_closure = track.look(measured, measured), False
        if track.left_zero is not None and not measured:
            # zero_grad left zeroes in place. Filled by hand (`p.grad.data = ...`), their fingerprints stay: measure.
            if _some_same(track.before_step, track.left_zero):
                track.measure(track.before_step)
        if track.before_step.norms is not None:
            track.before_step.norms.scale = scale = _grad_scale(optimizer)
            track.expect((scale,))
        if measured:
            track.weigh(copy=self._measures_updates() and room_for_copies(track.parameters))
        self.stage.tell("before_step", track)

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        track = self.roster.get(optimizer)
        if track is not None and track is self._steady.track and self._steady.stepping:
            self._steady.stepped(track)
            return
        if track is None or track.before_step is None:
            return
        before, track.before_step = track.before_step, None
        plain = None if before.drawn or track.by_closure or track.before_backward else track.plain_step(before)
        notes = self._notes(track, before)
        if plain is not None:
            after = release(before)
            track.later_plain(before, plain, notes)
        else:
            after = release(track.look(before.drawn))
            if after.same_as(release(before)):
                after.norms = before.norms
            elif before.drawn:
                track.measure(after)
            notes.weights, notes.updates = track.weighed()
            track.later("step", before, after, track.by_closure, notes)
        track.maybe_used = not after.empty
        track.steps += 1
        track.newest_row = self.row
        self._unstepped = 0
        self._stepped.add(track.number)
        if track.steps == 1 and self.row or not before.full and track.missing_changed(before):
            self.stage.look_closely()
        self.stage.tell("after_step", track)
        if self._steady.can_begin(track, before, notes):
            self._steady.begin(track, before, notes, self.sampling.next_measured(self.row + 1))
        track.seen = track.reached = 0
        track.left_zero = None
        track.zero_grad_site = track.backward_site = -1
        if track.before_backward is not None:
            # A step inside backward: what follows is compared with what it left. Nothing is held: such loops exist to
            # let go of their gradients at once.
            track.before_backward = release(track.look(False))

    def _notes(self, track: Track, before: Look) -> StepNotes:
        if track.steps == 0:
            track.variable = variable_name(track.optimizer(), self.stage.frame())
        trainable = None if before.full else [p.requires_grad for p in track.parameters]
        sites = (track.zero_grad_site, track.backward_site, track.step_site)
        columns = track.name_columns(self.stage.names)
        return StepNotes(
            self.row, before.drawn, track.learning_rates(), track.loss_scale, track.seen, track.reached, trainable,
            columns, sites,
        )  # fmt: skip

    # -- rows -------------------------------------------------------------------------------------------------------

    def finish_rows(self, wait: bool = False) -> None:
        """Enter into the books what has happened so far; the row at hand stays open.

        What an accelerator has not computed yet comes later, unless it is waited for.
        """
        self._finished, self._unread = self.row, False
        self._steady.hand_over()
        self._triggers |= self.books.finish(self.row, wait)

    def _close_row(self) -> None:
        steady, stage = self._steady, self.stage
        if steady.over:
            steady.over = False
            due = min(self._nothing_due_until, steady.until)  # a row seen in full is accounted for by itself
            if stage.row + 1 < due and not stage.triggers and DISPATCHER.now < self._look_up_at:
                stage.row += 1
                self.meta.rows = stage.row
                return
            if self.row - self._finished >= ENTERED:
                self.finish_rows()
        elif steady.track is not None and self._unread:
            self.finish_rows()
        elif steady.track is None or self.row - self._finished >= ENTERED:
            self._unread = steady.track is None  # what was unusual must not wait for the steady state to end
            if self.row < FIRST_ROWS or self.row % READ_OUT_ROWS == 0 or self._measured():
                self.finish_rows()
        self._end_row()

    def _end_row(self) -> None:
        if self._stepped != self._stepped_before and self._stepped:
            self.partition.row(self._stepped)
            self._stepped_before = self._stepped
        self._stepped = set()
        self._account()
        if self._measured():
            self._measured_rows += 1
        self.stage.row += 1
        self.meta.rows = self.row
        if self.row == next_close_look(self.row):
            self._unsettle(expected=True)
            self.stage.look_closely()
        if self._steady.track is not None and not self._steady.track.alive:
            self._unsettle()
        self.roster.bury()
        self.books.forget_the_dead()
        self._notify()
        now = time.perf_counter()
        self._look_up_at = now + LOOK_UP_EVERY
        self._row_started, self._row_spent = now, DISPATCHER.spent()
        self._rows_accounted = self.row

    def _account(self) -> None:
        """Let the sampling know what the rows since the last time have cost."""
        now, spent = time.perf_counter(), DISPATCHER.spent()
        rows = self.row + 1 - self._rows_accounted
        cost, elapsed = spent - self._row_spent, now - self._row_started
        self.sampling.rows_done(self._rows_accounted, rows, cost, elapsed, self.partition.count)

    def _notify(self) -> None:
        triggers = _NO_TRIGGERS
        if self._triggers or self.stage.triggers:
            triggers = frozenset(self._triggers | self.stage.triggers)
            self._triggers.clear()
            self.stage.triggers.clear()
        due = self._on_row(triggers)
        self._nothing_due_until = min(due, self.row + LIMIT, self.sampling.next_choice)

    def end_run(self, finished: bool) -> None:
        """The loop is over: close what is open, and let probes say what only the end can tell."""
        self._unsettle()
        self.stage.trace.stop()
        if self._stepped:
            self._close_row()
        self.finish_rows(wait=True)
        self.stage.tell("ended", finished)

    def view(self, live: bool = False) -> Record:
        """The record as it stands now; `live`: cheaper, and good only until the next row."""
        self.finish_rows(wait=not live)
        tables = tuple(table.view(live) for table in self.books.tables())
        groups = self.partition.preview(self._stepped)
        return Record(tables, groups, self.stage.facts, tuple(self.books.sites), self.meta)

    def suspect(self) -> None:
        """Something was found: the next rows are measured whole."""
        self.sampling.suspect(self.row)
        self._steady.until = min(self._steady.until, self.sampling.next_measured(self.row))

    # -- helpers ----------------------------------------------------------------------------------------------------

    def resumed(self) -> None:
        """After a pause: nothing is known of what happened meanwhile."""
        self._unsettle()
        for track in self.tracks:
            track.forget()

    def _measured(self) -> bool:
        return self.sampling.measured(self.row)

    def _next_measured(self) -> bool:
        """Whether the row is measured that a zero_grad belongs to: after a step, that is the next one."""
        return self.sampling.measured(self.row + bool(self._stepped))

    def _measures_updates(self) -> bool:
        return self.row < FIRST_ROWS or self._measured_rows % UPDATE_EVERY == 0


def _all_touched(before: Look, after: Look) -> bool:
    """Whether a call changed every gradient that was there."""
    old = zip(before.ids, before.versions, after.ids, after.versions)
    return all(i == 0 or (i, v) != (j, w) for i, v, j, w in old)


def _some_same(now: Look, before: Look) -> bool:
    """Whether some gradient that is there has the fingerprint it had before."""
    pairs = zip(now.ids, now.versions, before.ids, before.versions)
    return any(i != 0 and (i, v) == (j, w) for i, v, j, w in pairs)


def _grad_scale(optimizer: Any) -> Scale:
    """What the gradients are still multiplied by: fused optimizers unscale inside their step."""
    scale = getattr(optimizer, "grad_scale", None)
    if not isinstance(scale, torch.Tensor) or scale.numel() != 1:
        return UNSCALED
    return Scale(scale.detach().reshape(1).clone())
