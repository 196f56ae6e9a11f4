"""What was true at one step: the data behind the timeline, a grouping of its parameters, and which step to show."""
from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.errors import GradscopeError, UsageError
from gradscope.events import GradState, Phase, Point, Site
from gradscope.record.record import Array, OptimizerRecord, Record, Wiring
from gradscope.reporters.grouping import group

POINTS_OF = {
    Phase.ZERO_GRAD: (Point.BEFORE_ZERO_GRAD, Point.AFTER_ZERO_GRAD),
    Phase.BACKWARD: (Point.AFTER_BACKWARD,),
    Phase.STEP: (Point.BEFORE_STEP, Point.AFTER_STEP),
}
MOST_LINES = 40  # more parameters are grouped by module
HAS_NUMBER = (GradState.FRESH, GradState.ACCUMULATED, GradState.STALE)
Place = Callable[[int, int], int]
_STATES = {int(state): state for state in GradState}


@dataclass(frozen=True)
class Cell:
    """The gradients of one line at one point: how many are in which state, and their norm together.

    The norm is the root of the sum of squares over those that have a gradient; NaN where none has one, or one is NaN.
    """

    counts: Mapping[GradState, int]
    norm: float

    @property
    def state(self) -> GradState | None:
        """The state of all of them; None where they differ."""
        return next(iter(self.counts)) if len(self.counts) == 1 else None


@dataclass(frozen=True)
class Line:
    """One parameter, or the parameters of a module; `places` of these, where `moment_of` was told of places."""

    name: str
    parameters: int
    cells: Mapping[Point, Cell]
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Call:
    """One of the loop's calls: its line (None where it was not made), and how often it was made for this step.

    `known` is false where the record keeps the step's gradients and no longer its calls.
    """

    phase: Phase
    site: Site | None
    times: int = 1
    known: bool = True


@dataclass(frozen=True)
class Head:
    """What stands above a table. `calls` are in the order in which they were made."""

    kind: str
    variable: str
    lr: tuple[float, ...]  # per group
    loss: float | None  # None where it is not known; NaN is a loss that was NaN
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class OptimizerMoment:
    """One optimizer at one step, or several that share a head (one a layer, say, stepping inside backward)."""

    numbers: tuple[int, ...]
    head: Head
    lines: tuple[Line, ...]
    parameters: int


@dataclass(frozen=True)
class Other:
    """An optimizer that was not measured at a step: whether it stepped there, and its measured step nearest to it."""

    number: int
    kind: str
    variable: str
    stepped: bool
    nearest: int


@dataclass(frozen=True)
class Moment:
    """One step of a run; `asked` is the one that was asked for."""

    step: int
    asked: int | None
    steps: int  # of the whole run
    measured: tuple[int, ...]
    optimizers: tuple[OptimizerMoment, ...]
    others: tuple[Other, ...]
    ended: bool

    @property
    def around(self) -> tuple[int | None, int | None]:
        """The measured steps before and after the one that is shown."""
        at = bisect_left(self.measured, self.step)
        return self.measured[at - 1] if at else None, self.measured[at + 1] if at + 1 < len(self.measured) else None


def moment_of(
    record: Record, step: int | None = None, most_lines: int | None = MOST_LINES, place: Place | None = None
) -> Moment:
    """Step `step`, or the measured one nearest to it; the newest measured one where None is asked for.

    `place(optimizer's number, column)` tells by what to sort the parameters; None: as their optimizers have them.
    UsageError for what cannot be a step, GradscopeError where the run has no such step or none at all.
    """
    if step is not None and not hasattr(step, "__index__"):
        raise UsageError(f"a step is a whole number, not {step!r}")
    if step is not None and step < 0:
        raise UsageError(f"there is no step {step}: steps are numbered from 0")
    kept = (rows for o in record.optimizers for rows in (o.rows, o.measured) if len(rows))
    steps = max([record.meta.rows, *(int(rows[-1]) + 1 for rows in kept)])
    if not any(len(o.rows) for o in record.optimizers):
        raise GradscopeError("no optimizer step was seen, so there is no timeline to show")
    if step is not None and step >= steps:
        are = f"steps are 0-{steps - 1}" if steps > 1 else "only step is 0"
        raise GradscopeError(f"there is no step {step}: the run's {are}")
    measured = [o for o in record.optimizers if len(o.measured)]
    if not measured:
        raise GradscopeError("no step of this record holds measured gradients, so there is no timeline to show")
    available = _union(measured)
    shown = available[-1]
    if step is not None:  # an optimizer that stepped there is meant, if there is one
        there = [o for o in measured if _index(o.rows, step) is not None]
        shown = _nearest(_union(there or measured), step)
    here = [o for o in measured if _index(o.measured, shown) is not None]
    others = tuple(
        Other(o.number, o.kind, o.variable, _index(o.rows, shown) is not None, _nearest(_union([o]), shown))
        for o in measured
        if _index(o.measured, shown) is None
    )
    alike: dict[str, list[OptimizerRecord]] = {}
    for optimizer in here:
        alike.setdefault(repr(_head(record, optimizer, shown)), []).append(optimizer)  # repr: NaN equals NaN
    moments = tuple(_table(record, optimizers, shown, most_lines, place) for optimizers in alike.values())
    return Moment(shown, step, steps, tuple(available), moments, others, record.meta.ended)


def _table(
    record: Record,
    optimizers: Sequence[OptimizerRecord],
    step: int,
    most_lines: int | None,
    place: Place | None,
) -> OptimizerMoment:
    states, norms = (np.concatenate(parts, axis=1) for parts in zip(*(_pictures(o, step) for o in optimizers)))
    names = [p.name for o in optimizers for p in o.parameters]
    places = [] if place is None else [place(o.number, i) for o in optimizers for i in range(len(o.parameters))]
    order = sorted(range(len(places)), key=places.__getitem__) or list(range(len(names)))
    lines = []
    for label, some in group([names[i] for i in order], most_lines):
        which = [order[i] for i in some]
        cells = {point: _cell(states[point, which], norms[point, which]) for point in Point}
        lines.append(Line(label, len(which), cells, tuple(places[i] for i in which) if places else ()))
    numbers = tuple(o.number for o in optimizers)
    return OptimizerMoment(numbers, _head(record, optimizers[0], step), tuple(lines), len(names))


def _head(record: Record, optimizer: OptimizerRecord, step: int) -> Head:
    row = _index(optimizer.rows, step)
    lr = () if row is None else tuple(float(rate) for rate in optimizer.lr[row] if not math.isnan(rate))
    calls = _calls(record, optimizer, row, step)
    return Head(optimizer.kind, optimizer.variable, lr, _loss(record, optimizer, row), calls)


def _pictures(optimizer: OptimizerRecord, step: int) -> tuple[Array, Array]:
    """# (points, params) twice: GradState, and norms"""
    at = _index(optimizer.measured, step)
    states, norms = np.array(optimizer.arrays["state"][at]), np.array(optimizer.arrays["norm"][at], np.float64)
    # What zero_grad passed by is not measured a second time: it is what it was before.
    before, after = norms[Point.BEFORE_ZERO_GRAD], norms[Point.AFTER_ZERO_GRAD]
    passed = np.isin(states[Point.AFTER_ZERO_GRAD], HAS_NUMBER) & np.isnan(after)
    norms[Point.AFTER_ZERO_GRAD] = np.where(passed, before, after)
    return states, norms


def _cell(states: Array, norms: Array) -> Cell:
    counts = Counter(_STATES.get(int(state), GradState.NOT_SEEN) for state in states)
    present = np.isin(states, HAS_NUMBER)
    norm = float(np.sqrt(np.sum(np.square(norms[present])))) if present.any() else math.nan
    return Cell(dict(sorted(counts.items())), norm)


def _calls(record: Record, optimizer: OptimizerRecord, row: int | None, step: int) -> tuple[Call, ...]:
    """The calls as a tutorial orders them; zero_grad behind backward where it took backward's gradients away."""
    if row is None:
        return tuple(Call(phase, None, known=False) for phase in POINTS_OF)
    backwards = max(1, int(optimizer.scalars["backwards"][row]))
    calls = []
    for phase in POINTS_OF:
        site = record.site(int(optimizer.scalars[f"{phase.value}_site"][row]))
        calls.append(Call(phase, site, backwards if phase is Phase.BACKWARD else 1))
    states, norms = _pictures(optimizer, step)
    before, made = Point.BEFORE_ZERO_GRAD, Point.AFTER_BACKWARD
    same = np.array_equal(states[before], states[made]) and np.array_equal(norms[before], norms[made], equal_nan=True)
    if optimizer.wiring[row] & Wiring.CLEARED and same and np.isin(states[made], HAS_NUMBER).any():
        calls[0], calls[1] = calls[1], calls[0]
    return tuple(calls)


def _loss(record: Record, optimizer: OptimizerRecord, row: int | None) -> float | None:
    if row is None or optimizer.wiring[row] & Wiring.NO_LOSS:
        return None
    step = int(optimizer.rows[row])
    for stream in record.streams:
        at = _index(stream.rows, step)
        if at is not None and any(o.number == optimizer.number for o in stream.optimizers):
            return float(stream.loss[at])
    return float(optimizer.scalars["loss"][row])


def _index(rows: Array, step: int) -> int | None:
    at = int(np.searchsorted(rows, step))
    return at if at < len(rows) and rows[at] == step else None


def _union(optimizers: Sequence[OptimizerRecord]) -> list[int]:
    return sorted({int(row) for o in optimizers for row in o.measured})


def _nearest(rows: Sequence[int], step: int) -> int:
    """The one nearest to `step` of some in ascending order; of two as near the one before it."""
    at = bisect_left(rows, step)
    return min(rows[max(0, at - 1) : at + 1], key=lambda row: abs(row - step))
