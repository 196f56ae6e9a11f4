"""The state of each gradient of one optimizer, derived from what the looks around each call show. No torch.

The rules of inference (measured, see `Look`): fingerprints compare only across one bracketed call. Between brackets the
user may clear, replace or edit gradients by hand; there, an id of 0 is a clear, another id is a replacement, and a norm
of 0 is a clear by value. A backward that finds a used gradient whose norm is above 0 adds to it: that sum is old.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gradscope.events import GradState, Point
from gradscope.recording.divisions import Division
from gradscope.recording.look import Look

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
POINTS = len(Point)
MAX_CONTRIBUTIONS = 10_000  # backwards in one row whose losses are kept


@dataclass(slots=True)
class Contribution:
    """One backward: its number in the run, its call site, its loss (arrives later; only meant if it was a scalar).

    `course`: the backwards from the same line and of the same kind of loss have the same one. `division`: by what the
    loss was divided, perhaps because several make a step.
    """

    number: int
    site: int
    scalar: bool
    course: int = 0
    loss: float = float("nan")
    division: Division | None = None


@dataclass
class Row:
    """What one step of one optimizer looked like, parameters along the last axis."""

    states: npt.NDArray[np.uint8]  # (points, params) GradState
    norms: Floats  # (points, params); NaN where there is no gradient or nobody measured
    reached: Bools  # a backward since the previous step reached the parameter
    old_inside: Bools  # the step used a gradient with a part that an earlier step had used already
    cleared: Bools  # reached, but what backward made was gone when the step ran
    missing: Bools  # no gradient at the step
    zero: Bools  # a gradient that is known to be zero
    contributions: tuple[Contribution, ...]


@dataclass
class Ledger:
    """Follows `size` gradients through clear, backward and step."""

    size: int
    used: Bools = field(init=False)  # a step of this optimizer ran on this gradient
    old: Bools = field(init=False)  # a backward added to a used, non-zero gradient
    zero: Bools = field(init=False)  # present, and known to be zero
    backwards: npt.NDArray[np.int32] = field(init=False)  # made since the last clear
    reached: Bools = field(init=False)  # since the previous step
    made: Bools = field(init=False)  # since the previous step a backward left something non-zero here
    states: npt.NDArray[np.uint8] = field(init=False)  # (points, params), of the row at hand
    norms: Floats = field(init=False)  # (points, params)
    last: Look | None = None
    contributions: list[tuple[Contribution, Bools]] = field(default_factory=list)  # and where something of it is left
    _closures: list[Contribution] = field(default_factory=list)
    _drawn: bool = True  # the row at hand has a picture

    def __post_init__(self) -> None:
        for name in ("used", "old", "zero", "reached", "made"):
            setattr(self, name, np.zeros(self.size, np.bool_))
        self.backwards = np.zeros(self.size, np.int32)
        self._clear_points()
        self._clear_closure()

    def grow(self, size: int) -> None:
        """Make room for parameters added by `add_param_group`; what was known of the others stays."""
        more = size - self.size
        for name in ("used", "old", "zero", "reached", "made", "backwards"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros(more, old.dtype)]))
        self.size, self.last = size, None if self.last is None else self.last.padded(more)
        self.contributions = [(c, np.pad(where, (0, more))) for c, where in self.contributions]
        self.states = np.pad(self.states, ((0, 0), (0, more)))
        self.norms = np.pad(self.norms, ((0, 0), (0, more)), constant_values=np.nan)
        self._clear_closure()

    def forget(self) -> None:
        """After a pause nothing is known of what the user did: no gradient counts as used."""
        self.used[:] = self.old[:] = False
        self.last = None
        self.contributions.clear()

    # -- what happened ----------------------------------------------------------------------------------------------

    def sync(self, now: Look, point: Point | None = None) -> None:
        """Take in what the user did between brackets; remember the picture as that of `point`."""
        last, was_zero = self.last, self.zero.copy()
        if now.empty:
            self._clear_all()
        elif last is not None and not now.same_as(last):
            ids, before = np.array(now.ids), np.array(last.ids)
            self._clear((ids == 0) | (ids != before))
            self.zero &= np.array(now.versions) == np.array(last.versions)
        if now.norms is not None:
            norms = now.norms.read()
            # Replaced by a gradient that happens to live at the same address: only its norm betrays it.
            if last is not None and last.norms is not None and self.used.any() and now.same_as(last):
                before_norms = last.norms.read()
                replaced = self.used & (norms != before_norms) & ~np.isnan(before_norms) & (norms != 0)
                self._clear(replaced)
            zero = norms == 0
            self._zeroed(zero & ~was_zero)
            self.zero = (self.zero | zero) & ~(norms > 0)
        self._drop_dead_contributions()
        self.last = now
        if point is not None:
            self._picture(point, now)

    def zero_grad(self, before: Look, after: Look) -> None:
        """A bracketed zero_grad: what it touched and left in place is zero."""
        self.sync(before, Point.BEFORE_ZERO_GRAD)
        if after.empty:
            self._clear_all()
        elif not after.same_as(before):
            ids = np.array(after.ids)
            touched = (ids != np.array(before.ids)) | (np.array(after.versions) != np.array(before.versions))
            self._clear(ids == 0)
            self._zeroed((ids != 0) & touched)
        self._drop_dead_contributions()
        self.last = after
        self._picture(Point.AFTER_ZERO_GRAD, after)

    def backward(self, before: Look, after: Look, contribution: Contribution) -> None:
        """A bracketed backward: what changed was reached."""
        self.sync(before)
        if after.same_as(before):
            return
        if before.empty and after.full:
            changed = np.ones(self.size, np.bool_)
        else:
            ids = np.array(after.ids)
            changed = (ids != 0) & (
                (ids != np.array(before.ids)) | (np.array(after.versions) != np.array(before.versions))
            )
            self._clear(ids == 0)
        onto_nothing = changed & (~before.present | self.zero)
        onto_something = changed & ~onto_nothing
        self._fresh(onto_nothing, backwards=1)
        self.old |= onto_something & (self.used | self.old)
        self.used &= ~changed
        self.backwards[onto_something] += 1
        self.reached |= changed
        if changed.any():
            self.contributions.append((contribution, changed))
            del self.contributions[:-MAX_CONTRIBUTIONS]
        if after.norms is not None:
            norms = after.norms.read()
            self.zero |= after.present & (norms == 0)
            self.made |= changed & (norms != 0)
        else:
            self.made |= changed
        self.last = after
        self._picture(Point.AFTER_BACKWARD, after)

    def closure_returned(self, now: Look) -> None:
        """The step's closure hands its gradients to the step, which may ask for more of them."""
        self.sync(now, Point.BEFORE_STEP)
        self._old_in_closure |= self.old & now.present
        self._missing_in_closure = ~now.present
        self.made &= ~now.present | self.zero  # the step has had the rest
        self.used |= now.present
        self._closures.extend(c for c, _ in self.contributions)
        self.contributions.clear()

    def step(self, before: Look, after: Look, by_closure: bool) -> Row:
        """A bracketed step: what is there now has been used. Returns the finished row and starts the next."""
        if by_closure:
            old_inside, missing = self._old_in_closure, self._missing_in_closure
            self._clear_closure()
        else:
            self.sync(before, Point.BEFORE_STEP)
            missing = ~before.present
            old_inside = self.old & before.present
        row = Row(
            self.states,
            self.norms,
            self.reached.copy(),
            old_inside,
            self.made & (missing | self.zero),
            missing,
            self.zero.copy(),
            (*self._closures, *(c for c, _ in self.contributions)),
        )
        if not after.same_as(before):
            self._clear(np.array(after.ids) == 0)
        self.used = after.present
        self.old &= after.present
        self.backwards[:] = 0
        self.last = after
        self._picture(Point.AFTER_STEP, after)
        self.reached[:] = self.made[:] = False
        self.contributions.clear()
        self._closures.clear()
        self._clear_points()
        return row

    def plain_rows(self, at_step: Look) -> None:
        """Rows as they should be: nothing was there, backward made what was there at the step, the step used that."""
        self.used = at_step.present
        self.old[:] = self.zero[:] = self.reached[:] = self.made[:] = False
        self.backwards[:] = 0
        self.contributions.clear()
        self.last = at_step

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _clear_points(self) -> None:
        if self._drawn:
            self._drawn = False
            self.states = np.zeros((POINTS, self.size), np.uint8)
            self.norms = np.full((POINTS, self.size), np.nan, np.float32)

    def _clear_closure(self) -> None:
        self._old_in_closure = np.zeros(self.size, np.bool_)
        self._missing_in_closure = np.ones(self.size, np.bool_)

    def _clear_all(self) -> None:
        self.used[:] = self.old[:] = self.zero[:] = False
        self.backwards[:] = 0
        self.contributions.clear()

    def _clear(self, which: Bools) -> None:
        """Gone, or replaced by something that no backward made: what had contributed to it counts no more there."""
        self._fresh(which, backwards=0)
        for _, where in self.contributions:
            where &= ~which

    def _fresh(self, which: Bools, backwards: int) -> None:
        self.used[which] = self.old[which] = self.zero[which] = False
        self.backwards[which] = backwards

    def _zeroed(self, which: Bools) -> None:
        self._clear(which)
        self.zero[which] = True

    def _drop_dead_contributions(self) -> None:
        """A loss counts for the row only while something of its gradient is left."""
        self.contributions = [(c, where) for c, where in self.contributions if where.any()]

    def _picture(self, point: Point, now: Look) -> None:
        if not now.drawn:
            return
        self._drawn = True
        states, norms = self.states[point], self.norms[point]
        if now.empty:
            states[:] = GradState.NONE
            norms[:] = np.nan
            return
        states[:] = GradState.FRESH
        states[self.backwards > 1] = GradState.ACCUMULATED
        states[self.used | self.old] = GradState.STALE
        states[self.zero] = GradState.ZERO
        if now.norms is not None:
            norms[:] = now.norms.read()
            states[norms == 0] = GradState.ZERO
        else:
            norms[:] = np.where(self.zero, 0.0, np.nan)
        if not now.full:
            states[~now.present] = GradState.NONE
            norms[~now.present] = np.nan
