"""The recorder: takes the loop's events, looks at the gradients around each, and says what belongs to which row.

A row opens at the first backward after a step and closes at the last step before the next backward. Rows have two
phases: looks are taken at once, their numbers are read out together when the row closes, and only then does the ledger
derive the states (`Track.replay`).
"""
from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch

from gradscope.events import Event, Phase
from gradscope.facts.loop import SkippedStep
from gradscope.hooks.clipping import ClipCall
from gradscope.probes.base import Probe
from gradscope.record.record import Meta, Record
from gradscope.recording.books import Books, Sink
from gradscope.recording.contributions import Contributions
from gradscope.recording.finishing import StepNotes
from gradscope.recording.fittings import Fittings
from gradscope.recording.ledger import Contribution
from gradscope.recording.look import Look, release
from gradscope.recording.memory import room_for_copies
from gradscope.recording.naming import variable_name
from gradscope.recording.roster import Roster
from gradscope.recording.rows import Rows
from gradscope.recording.sampling import Sampling
from gradscope.recording.stage import Stage
from gradscope.recording.stats import UNSCALED, Scale
from gradscope.recording.steady import Steady
from gradscope.recording.track import Track, holds
from gradscope.recording.validation import Validation

READ_OUT_EVERY = 64  # backwards without a step, so that waiting looks do not pile up


class Recorder:
    """Implements the dispatcher's Listener.

    `roster` knows the optimizers, `stage` tells the probes, `books` keep the rows, `rows` closes them and calls
    `on_row(triggers)`. `on_failure(error)` is called once if something in here breaks.
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
        self.roster = Roster()
        self.meta = Meta(optimizers=self.roster.kinds, strides=sampling.changes)
        self.stage = Stage(probes, self.roster, self.meta.blind)
        self.books = Books(self.roster, sink, memory)
        self._on_failure = on_failure
        self._fittings = Fittings(self.stage, self.meta.notes.append)
        self._contributions = Contributions(
            self.stage, self.books, self.meta, self._fittings, lambda: self.rows.suspect()
        )
        self._steady = Steady(self.stage, self.books, self.roster, self._contributions.of)
        self.rows = Rows(self.stage, self.books, self.roster, self._steady, sampling, self.meta, on_row)
        self.validation = Validation(sink, self.books, self.roster, lambda: self.rows.newest, self.meta.blind)
        self.stage.draw = self.validation.drawn
        self._unstepped = 0  # backwards since a step
        self._contribution: Contribution | None = None
        self._scale = UNSCALED

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
        self.rows.unsettle()
        self.roster.born(optimizer)
        self._fittings.born()
        self.stage.look_closely()

    def begin(self, event: Event) -> bool:
        event, steady = self._fittings.placed(event), self._steady
        if self.validation.evaluates and event.phase is Phase.BACKWARD:
            self.validation.ends()
        if event.phase is Phase.BACKWARD and (steady.over or self.rows.stepped):
            self.rows.close()
        if steady.track is not None:
            if steady.takes(event):
                return event.phase is not Phase.ZERO_GRAD or steady.cleared
            self.rows.unsettle(expected=self.row + steady.over >= steady.until)
        self.roster.adopt()
        if event.phase is Phase.BACKWARD:
            self._backward_begins(event)
        elif event.phase is Phase.STEP:
            self._step_begins(event)
        else:
            for track in self.tracks:
                track.read_parameters()
            for track in self._concerned(event.subject):
                measured = self.rows.next_measured()
                if measured or track.keeps_gradients or not holds(event.subject, track):
                    track.before_zero_grad = track.look(measured, measured)
        return False

    def end(self, event: Event) -> None:
        if event.phase is Phase.BACKWARD:
            self._backward_ends(self._fittings.placed(event))
        elif self._steady.track is not None:
            self._steady.zero_grad_ended(event.subject)
        elif event.phase is Phase.ZERO_GRAD:
            self._zero_grad_ends(event)

    def failed(self, error: BaseException) -> None:
        self.stage.trace.stop()
        self.validation.stop()
        self._on_failure(error)

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        self._contributions.loss_scaled(scaled, loss)

    def closure_returned(self, optimizer: torch.optim.Optimizer) -> None:
        self.rows.unsettle()
        track = self.roster.get(optimizer)
        if track is None or track.before_step is None:
            return
        track.by_closure = True
        measured = self.rows.measured()
        release(track.before_step)
        track.before_step = track.look(measured, measured)
        track.later("closure_returned", track.before_step)
        track.maybe_used = True
        self.stage.tell("closure_returned", track)

    def scaler_created(self, scaler: Any) -> None:
        self.stage.tell("scaler_created", scaler)

    def scaler_stepped(self, scaler: Any, optimizer: torch.optim.Optimizer, ran: bool) -> None:
        track = self.roster.get(optimizer)
        if track is None:
            return
        if track.scaler is None or track.scaler() is not scaler:
            track.scaler = weakref.ref(scaler)
        if not ran:
            self.rows.unsettle()
            self.stage.emit(SkippedStep(self.row, track.number))
            self.stage.tell("skipped_step", track, scaler)

    def scheduler_stepped(self, scheduler: Any) -> None:
        self.roster.adopt()
        track = self.roster.get(getattr(scheduler, "optimizer", None))
        if track is not None:
            self.stage.tell("scheduler_stepped", track, scheduler)

    def clipped(self, call: ClipCall) -> None:
        self.stage.tell("clipped", call)

    def metric_seen(self, source: str, name: Any, value: Any, scheduler: Any, frame: FrameType) -> None:
        self.validation.given(source, name, value, scheduler, frame)

    def evaluating(self, module: Any) -> None:
        self.validation.begins(module)
        self.stage.tell("evaluating", module)

    def processes_part(self) -> None:
        self.rows.finish(wait=True)
        self.stage.tell("processes_part")

    def backward_failed(self, error: BaseException, event: Event | None) -> None:
        if event is not None:
            self.rows.unsettle()
            self.stage.tell("backward_failed", error, self._fittings.placed(event).site)

    # -- ZERO_GRAD --------------------------------------------------------------------------------------------------

    def _zero_grad_ends(self, event: Event) -> None:
        site = self.books.site(event.site)
        for track in self._concerned(event.subject):
            before, track.before_zero_grad = track.before_zero_grad, None
            after = release(track.look(self.rows.next_measured()))
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
            self.rows.finish()
        self.stage.backward_begins(event.subject)
        self._contribution, waiting, self._scale = self._contributions.of(event)
        measured = self.rows.measured()
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
            self.rows.notify()

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
        if track.number in self.rows.stepped and track.seen == 0:
            self.rows.close()  # a step without a backward since its last one: a row of its own
        if track.before_backward is not None and self._backward_reached(track):  # a step inside backward
            track.before_backward = release(track.look(False))
        measured = self.rows.measured()
        track.before_step, track.by_closure = track.look(measured, measured), False
        if track.left_zero is not None and not measured:
            # zero_grad left zeroes in place. Filled by hand (`p.grad.data = ...`), their fingerprints stay: measure.
            if _some_same(track.before_step, track.left_zero):
                track.measure(track.before_step)
        if track.before_step.norms is not None:
            track.before_step.norms.scale = scale = _grad_scale(optimizer)
            track.expect((scale,))
        if measured:
            track.weigh(copy=self.rows.measures_updates() and room_for_copies(track.parameters))
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
        self.rows.stepped.add(track.number)
        if track.steps == 1 and self.row or not before.full and track.missing_changed(before):
            self.stage.look_closely()
        self.stage.tell("after_step", track)
        if self._steady.can_begin(track, before, notes):
            wanted = self.row + 1 + self.stage.next_step(track) - track.steps
            self._steady.begin(track, before, notes, min(wanted, self.sampling.next_measured(self.row + 1)))
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

    # -- what the session asks for --------------------------------------------------------------------------------

    def resumed(self) -> None:
        """After a pause: nothing is known of what happened meanwhile."""
        self.rows.unsettle()
        for track in self.tracks:
            track.forget()
        self.stage.tell("resumed")

    def end_run(self, finished: bool) -> None:
        """The loop is over: close what is open, and let probes say what only the end can tell."""
        self.validation.ends()
        self.rows.unsettle()
        self.stage.trace.stop()
        if self.rows.stepped:
            self.rows.close()
        self.rows.finish(wait=True)
        self.validation.finish(wait=True)
        self.stage.tell("ended", finished)

    def view(self, live: bool = False) -> Record:
        """The record as it stands now; `live`: cheaper, and good only until the next row."""
        self.rows.finish(wait=not live)
        self.validation.finish(wait=not live)
        tables = tuple(table.view(live) for table in self.books.tables())
        groups = self.rows.partition.preview(self.rows.stepped)
        sites = tuple(self.books.sites)
        return Record(tables, groups, self.stage.facts, sites, self.meta, self.validation.view())


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
