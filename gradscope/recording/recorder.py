"""The recorder: takes the loop's events, looks at the gradients around each, and makes rows of them.

A row opens at the first backward after a step and closes at the last step before the next backward. Rows have two
phases: looks are taken at once, their numbers are read out together when the row closes, and only then does the ledger
derive the states (`Track.replay`).
"""
from __future__ import annotations

import time
from types import FrameType
from typing import Any, Callable, Protocol, Sequence

import torch

from gradscope.events import Event, Phase, Site
from gradscope.facts import Fact, FactLog, SkippedStep
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.forward import ForwardTrace
from gradscope.hooks.graph import Survey, survey
from gradscope.probes.base import Probe
from gradscope.record.record import Meta, Record, Wiring
from gradscope.record.table import OptimizerTable
from gradscope.recording.finishing import StepNotes, columns_of, count, loss_of, plain_scalars
from gradscope.recording.ledger import Contribution
from gradscope.recording.look import Look, release
from gradscope.recording.losses import ScaledLosses
from gradscope.recording.memory import room_for_copies, share_memory
from gradscope.recording.naming import Names, variable_name
from gradscope.recording.roster import Roster
from gradscope.recording.sampling import FIRST_ROWS, Sampling
from gradscope.recording.stats import read_out
from gradscope.recording.streams import Partition
from gradscope.recording.track import LossCell, Track

CLOSE_ROWS = 4  # module calls and graphs are looked at in the first rows, then again on a trigger
READ_OUT_ROWS = 16  # after the first rows, unmeasured ones are read out and replayed together
READ_OUT_EVERY = 64  # backwards without a step, so that waiting looks do not pile up
UPDATE_EVERY = 16  # after the first rows, each so manieth measured row measures updates too


class Sink(Protocol):
    """Where finished rows go besides the tables: the run folder."""

    def described(self, table: OptimizerTable) -> None: ...
    def row(self, table: OptimizerTable, scalars: dict[str, Any], arrays: dict[str, Any] | None) -> None: ...


class Recorder:
    """Implements the dispatcher's Listener and the probes' Scene.

    `only` restricts it to some optimizers (`watch(model, optimizer)`); `on_row(triggers)` is called after each finished
    row, `on_failure(error)` once if something in here breaks.
    """

    def __init__(
        self,
        sampling: Sampling,
        probes: Sequence[Probe],
        sink: Sink,
        on_row: Callable[[frozenset[str]], None],
        on_failure: Callable[[BaseException], None],
        memory: int,
    ) -> None:
        self.row = 0
        self.names = Names()
        self.trace = ForwardTrace(lambda: DISPATCHER.listening(DISPATCHER.generation), self._probe_failed)
        self.facts = FactLog()
        self.sites: list[Site] = []
        self.sampling = sampling
        self.partition = Partition()
        self.failure: BaseException | None = None
        self.roster = Roster()
        self.meta = Meta(optimizers=self.roster.kinds, strides=sampling.changes)
        self._probes = list(probes)
        self._moments = _moments(self._probes)
        self._sink, self._on_row, self._on_failure, self._memory = sink, on_row, on_failure, memory
        self._tables: dict[int, OptimizerTable] = {}
        self._site_numbers: dict[Site, int] = {}
        self._scaled = ScaledLosses()
        self._stepped: set[int] = set()
        self._contribution: Contribution | None = None
        self._together: dict[int, dict[int, Contribution]] = {}  # by row: the backwards that its steps used
        self._scale = 1.0
        self._roots: tuple[torch.Tensor, ...] = ()
        self._survey: Survey | None = None
        self._close_until = CLOSE_ROWS
        self._triggers: set[str] = set()
        self._told_by_probes = False
        self._measured_rows = 0
        self._row_started = time.perf_counter()
        self._row_spent = 0.0

    # -- the probes' Scene ------------------------------------------------------------------------------------------

    @property
    def tracks(self) -> Sequence[Track]:
        return self.roster.living()

    def owned(self) -> set[int]:
        return self.roster.owned()

    def survey(self) -> Survey | None:
        if self._survey is None and self._roots and self.row < self._close_until:
            self._survey = survey(self._roots)
        return self._survey

    def frame(self) -> FrameType | None:
        return DISPATCHER.sites.frame()

    def emit(self, fact: Fact) -> None:
        self.facts.add(fact)

    def trigger(self, why: str) -> None:
        self._triggers.add(why)
        self._told_by_probes = True

    def look_closely(self) -> None:
        """Watch module calls and graphs in this row and the next two."""
        self._close_until = max(self._close_until, self.row + 3)
        self.trace.start()

    # -- the dispatcher's Listener ----------------------------------------------------------------------------------

    def optimizer_created(self, optimizer: torch.optim.Optimizer) -> None:
        self.roster.born(optimizer)
        self.look_closely()

    def begin(self, event: Event) -> None:
        self.roster.adopt()
        if event.phase is Phase.BACKWARD:
            self._backward_begins(event)
        elif event.phase is Phase.STEP:
            self._step_begins(event)
        else:
            for track in self._concerned(event.subject):
                track.read_parameters()
                measured = self._next_measured(track)
                if measured or track.keeps_gradients:
                    track.before_zero_grad = track.look(measured, measured)

    def end(self, event: Event) -> None:
        if event.phase is Phase.BACKWARD:
            self._backward_ends(event)
        elif event.phase is Phase.ZERO_GRAD:
            self._zero_grad_ends(event)

    def failed(self, error: BaseException) -> None:
        self.failure = error
        self.trace.stop()
        self._on_failure(error)

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        self._scaled.scaled(scaled, loss)

    def closure_returned(self, optimizer: torch.optim.Optimizer) -> None:
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
            self.emit(SkippedStep(self.row, track.number))
            self._tell("skipped_step", track)

    def backward_failed(self, error: BaseException, event: Event | None) -> None:
        if event is not None:
            self._tell("backward_failed", error, event.site)

    # -- ZERO_GRAD --------------------------------------------------------------------------------------------------

    def _zero_grad_ends(self, event: Event) -> None:
        site = self._site(event.site)
        for track in self._concerned(event.subject):
            before, track.before_zero_grad = track.before_zero_grad, None
            after = release(track.look(self._next_measured(track)))
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
            if track.number >= 0 and (event.subject is track.optimizer() or not after.same_as(before)):
                self._tell("zero_grad", track)

    def _concerned(self, subject: Any) -> Sequence[Track]:
        """The optimizers whose gradients a zero_grad of `subject` may clear."""
        own, tracks = self.roster.get(subject), self.tracks
        if own is None or len(tracks) == 1:
            return tracks
        mine = own.parameter_ids
        return [t for t in tracks if t is own or not mine.isdisjoint(t.parameter_ids)]

    # -- BACKWARD ---------------------------------------------------------------------------------------------------

    def _backward_begins(self, event: Event) -> None:
        if self._stepped:
            self._close_row()
        elif self.meta.backwards % READ_OUT_EVERY == 0:
            self.finish_rows()
        if self.row >= self._close_until and self.trace.on:
            self.trace.stop()
        if self.trace.blind:
            self.meta.blind["module calls"] = self.trace.blind
        self.meta.backwards += 1
        self._roots, self._survey = event.subject, None
        measured = self._measured()
        self._contribution, loss, self._scale = self._contribute(event)
        if self.trace.on:
            for module in self.trace.roots():
                self.names.add_root(module, self.frame())
        for track in self.tracks:
            track.read_parameters()
            track.before_backward = track.look(measured, measured or track.maybe_used)
            track.seen += 1
            if track.before_backward.empty:
                track.maybe_used = False
            if loss is not None:
                track.expect(loss)
        self._tell("before_backward", event.subject, event.site)

    def _contribute(self, event: Event) -> tuple[Contribution, LossCell | None, float]:
        roots = event.subject
        scalar = event.plain_scalar and len(roots) == 1 and roots[0].numel() == 1 and not roots[0].is_complex()
        contribution = Contribution(self.meta.backwards, self._site(event.site), scalar)
        if not scalar:
            return contribution, None, 1.0
        loss, scale = self._scaled.unscaled(roots[0])
        if loss.device.type == "cpu":
            contribution.loss = loss.item()
            return contribution, None, scale
        return contribution, LossCell(loss, contribution), scale

    def _backward_ends(self, event: Event) -> None:
        reached = []
        for track in self.tracks:
            if track.before_backward is not None and self._backward_reached(track):
                reached.append(track)
            track.before_backward = None
        self._tell("after_backward", reached, event.site)
        self._roots, self._survey, self._contribution = (), None, None
        if self.trace.on:
            self.trace.clear()
        if self._told_by_probes:  # there may be no row to wait for
            self._told_by_probes = False
            self._notify()

    def _backward_reached(self, track: Track) -> bool:
        before, contribution = track.before_backward, self._contribution
        assert before is not None and contribution is not None
        after = release(track.look(before.drawn))
        release(before)
        if after.same_as(before):
            return False
        if after.drawn:
            track.measure(after, self._scale)
        self.roster.activate(track)
        track.later("backward", before, after, contribution)
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
        track.step_site = self._site(event.site)
        if track.number in self._stepped and track.seen == 0:
            self._close_row()  # a step without a backward since its last one: a row of its own
        if track.before_backward is not None and self._backward_reached(track):  # a step inside backward
            track.before_backward = track.look(False)
        measured = self._measured()
        track.before_step, track.by_closure = track.look(measured, measured), False
        if track.before_step.norms is not None:
            track.before_step.norms.scale = _grad_scale(optimizer)
        if measured:
            track.weigh(copy=self._measures_updates() and room_for_copies(track.parameters))
        self._tell("before_step", track)

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        track = self.roster.get(optimizer)
        if track is None or track.before_step is None:
            return
        before, track.before_step = track.before_step, None
        plain = None if before.drawn or track.by_closure or track.before_backward else track.plain_step(before)
        notes = self._notes(track, before)
        if plain is not None:
            after = release(before)
            track.later("plain_row", before, plain, notes)
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
        self._stepped.add(track.number)
        if not before.full and track.missing_changed(before):
            self.look_closely()
        self._tell("after_step", track)
        track.seen = track.reached = 0
        track.zero_grad_site = track.backward_site = -1
        if track.before_backward is not None:  # a step inside backward: what follows is compared with what it left
            track.before_backward = track.look(False)

    def _notes(self, track: Track, before: Look) -> StepNotes:
        if track.steps == 0:
            track.variable = variable_name(track.optimizer(), self.frame())
        trainable = None if before.full else [p.requires_grad for p in track.parameters]
        sites = (track.zero_grad_site, track.backward_site, track.step_site)
        columns = track.name_columns(self.names)
        return StepNotes(
            self.row, before.drawn, track.learning_rates(), track.loss_scale, track.seen, track.reached, trainable,
            columns, sites,
        )  # fmt: skip

    # -- rows -------------------------------------------------------------------------------------------------------

    def finish_rows(self) -> None:
        """Read out what is waiting and put it into the tables; the row at hand stays open."""
        read_out([numbers for track in self.roster.tracks for numbers in track.pending()])
        finished = [(track, row, notes) for track in self.roster.tracks for row, notes in track.replay()]
        together = self._together
        for _, row, notes in finished:
            mine = (row,) if isinstance(row, Contribution) else row.contributions
            together.setdefault(notes.row, {}).update({c.number: c for c in mine})
        for track, row, notes in finished:
            table = self._table(track, notes)
            if isinstance(row, Contribution):
                scalars, arrays = plain_scalars(notes, row), None
                scalars["joint_loss"] = loss_of([*together[notes.row].values()])
                table.append_plain(scalars)
            else:
                scalars, arrays = columns_of(row, notes, list(together[notes.row].values()))
                count(table, row, notes)
                table.append(scalars, arrays)
                self._triggers.update(f"{bit.name}:{track.number}" for bit in _TRIGGERS if scalars["wiring"] & bit)
            self._sink.row(table, scalars, arrays)
        self._together = {row: losses for row, losses in together.items() if row == self.row}

    def _close_row(self) -> None:
        if self.row < FIRST_ROWS or self.row % READ_OUT_ROWS == 0 or self._measured():
            self.finish_rows()
        self.partition.row(self._stepped)
        self._stepped = set()
        now, spent = time.perf_counter(), DISPATCHER.spent()
        self.sampling.row_done(self.row, spent - self._row_spent, now - self._row_started)
        if self._measured():
            self._measured_rows += 1
        self.row += 1
        self.meta.rows = self.row
        self.roster.bury()
        self._notify()
        self._row_started, self._row_spent = time.perf_counter(), DISPATCHER.spent()

    def _notify(self) -> None:
        triggers, self._triggers = frozenset(self._triggers), set()
        self._on_row(triggers)

    def end_run(self, finished: bool) -> None:
        """The loop is over: close what is open, and let probes say what only the end can tell."""
        self.trace.stop()
        if self._stepped:
            self._close_row()
        else:
            self.finish_rows()
        self._tell("ended", finished)

    def _table(self, track: Track, notes: StepNotes) -> OptimizerTable:
        table = track.table
        if table is None:
            variable = track.variable or "optimizer"
            table = track.table = OptimizerTable(track.number, track.kind, notes.columns, len(notes.lr), variable)
        elif len(table.parameters) != len(notes.columns) or table.groups != len(notes.lr):
            table.widen(notes.columns, len(notes.lr))
        else:
            return table
        self._tables[track.number] = table
        share_memory(list(self._tables.values()), self._memory)
        self._sink.described(table)
        return table

    def tables(self) -> list[OptimizerTable]:
        """The tables of all optimizers that have stepped, in order."""
        return [self._tables[number] for number in sorted(self._tables)]

    def view(self) -> Record:
        """The record as it stands now."""
        self.finish_rows()
        tables = tuple(table.view() for table in self.tables())
        return Record(tables, self.partition.preview(self._stepped), self.facts, tuple(self.sites), self.meta)

    # -- helpers ----------------------------------------------------------------------------------------------------

    def resumed(self) -> None:
        """After a pause: nothing is known of what happened meanwhile."""
        for track in self.tracks:
            track.forget()

    def _measured(self) -> bool:
        return self.sampling.measured(self.row)

    def _next_measured(self, track: Track) -> bool:
        """Whether the row is measured that a zero_grad belongs to: after a step, that is the next one."""
        return self.sampling.measured(self.row + (track.number in self._stepped))

    def _measures_updates(self) -> bool:
        return self.row < FIRST_ROWS or self._measured_rows % UPDATE_EVERY == 0

    def _site(self, site: Site) -> int:
        number = self._site_numbers.get(site)
        if number is None:
            number = self._site_numbers[site] = len(self.sites)
            self.sites.append(site)
        return number

    def _tell(self, moment: str, *arguments: Any) -> None:
        for probe in list(self._moments.get(moment, ())):
            try:
                getattr(probe, moment)(self, *arguments)
            except Exception as error:
                self._probes.remove(probe)
                self._moments = _moments(self._probes)
                self._probe_failed(error, type(probe).__name__)

    def _probe_failed(self, error: BaseException, name: str = "module calls") -> None:
        self.meta.blind[name] = f"it failed at step {self.row}: {type(error).__name__}: {error}"


_TRIGGERS = (Wiring.ALL_MISSING, Wiring.OLD_INSIDE, Wiring.CLEARED)


def _moments(probes: Sequence[Probe]) -> dict[str, list[Probe]]:
    """Which probes have something to do at which moment."""
    names = [name for name, member in vars(Probe).items() if callable(member) and not name.startswith("_")]
    return {n: found for n in names if (found := [p for p in probes if getattr(type(p), n) is not getattr(Probe, n)])}


def _all_touched(before: Look, after: Look) -> bool:
    """Whether a call changed every gradient that was there."""
    old = zip(before.ids, before.versions, after.ids, after.versions)
    return all(i == 0 or (i, v) != (j, w) for i, v, j, w in old)


def _grad_scale(optimizer: Any) -> float:
    """What the gradients are still multiplied by: fused optimizers unscale inside their step."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(scale) if isinstance(scale, torch.Tensor) and scale.numel() == 1 else 1.0
