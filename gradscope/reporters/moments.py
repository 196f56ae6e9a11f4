"""What was true at one step: the data behind the timeline, a grouping of its parameters, and which step to show."""
from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from gradscope.errors import GradscopeError, UsageError
from gradscope.events import GradState, Phase, Point, Site
from gradscope.record.record import Array, OptimizerRecord, Record, Wiring

POINTS_OF = {
    Phase.ZERO_GRAD: (Point.BEFORE_ZERO_GRAD, Point.AFTER_ZERO_GRAD),
    Phase.BACKWARD: (Point.AFTER_BACKWARD,),
    Phase.STEP: (Point.BEFORE_STEP, Point.AFTER_STEP),
}
MOST_LINES = 40  # more parameters are grouped by module
HAS_NUMBER = (GradState.FRESH, GradState.ACCUMULATED, GradState.STALE)
Path = tuple[str, ...]  # a name at its dots
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
    """One parameter, or the parameters of a module."""

    name: str
    parameters: int
    cells: Mapping[Point, Cell]


@dataclass(frozen=True)
class Call:
    """One of the loop's calls: its line (None where it was not made), and how often it was made for this step."""

    phase: Phase
    site: Site | None
    times: int = 1


@dataclass(frozen=True)
class OptimizerMoment:
    """One optimizer at one step. `calls` are in the order in which they were made."""

    number: int
    kind: str
    variable: str
    lr: tuple[float, ...]  # per group
    loss: float | None  # None where it is not known; NaN is a loss that was NaN
    calls: tuple[Call, ...]
    lines: tuple[Line, ...]
    parameters: int


@dataclass(frozen=True)
class Other:
    """An optimizer that was not measured at a step: whether it stepped there, and its measured step next to it."""

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


def moment_of(record: Record, step: int | None = None, most_lines: int | None = MOST_LINES) -> Moment:
    """Step `step`, or the measured one next to it; the newest measured one where None is asked for.

    UsageError for a negative step, GradscopeError where the run has no such step or none at all.
    """
    if step is not None and step < 0:
        raise UsageError(f"there is no step {step}: steps are numbered from 0")
    steps = max([record.meta.rows, *(int(o.rows[-1]) + 1 for o in record.optimizers if len(o.rows))])
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
    moments = tuple(_optimizer(record, o, shown, most_lines) for o in here)
    return Moment(shown, step, steps, tuple(available), moments, others, record.meta.ended)


def group(names: Sequence[str], most: int | None) -> list[tuple[str, list[int]]]:
    """Lines for these parameters, each a label and which parameters it stands for.

    Each its own where there are at most `most` (or None is given), else by module, at the deepest level of which there
    are at most `most`. Where that leaves only a few lines (one list of 500 layers), neighbours at the level below
    share a line instead.
    """
    if most is None or len(names) <= most:
        return [(name, [i]) for i, name in enumerate(names)]
    paths = [tuple(name.split("=")[0].split(".")) for name in names]
    deepest = max(map(len, paths))
    levels = [_level(paths, depth) for depth in range(deepest)] + [_members(paths)]
    depth = max(d for d, level in enumerate(levels) if len(level) <= most)
    lines = [[key] for key in levels[depth]]
    if len(lines) < most // 4 and depth < deepest:
        depth += 1
        size = math.ceil(len(levels[depth]) / (most - len(lines)))
        children: dict[Path, list[Path]] = {}
        for key, members in levels[depth].items():
            children.setdefault(_module(paths[members[0]], depth - 1), []).append(key)
        lines = [keys[i : i + size] for keys in children.values() for i in range(0, len(keys), size)]
    return [_labelled(keys, levels[depth], names) for keys in lines]


def _level(paths: Sequence[Path], depth: int) -> dict[Path, list[int]]:
    return _members([_module(path, depth) for path in paths])


def _module(path: Path, depth: int) -> Path:
    """The outer `depth` modules that a parameter is in; itself where it is in none."""
    return path[:-1][:depth] or path[: 1 if depth else 0]


def _members(keys: Sequence[Path]) -> dict[Path, list[int]]:
    members: dict[Path, list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    return members


def _labelled(keys: Sequence[Path], level: Mapping[Path, list[int]], names: Sequence[str]) -> tuple[str, list[int]]:
    first, last = keys[0], keys[-1]
    members = [i for key in keys for i in level[key]]
    if len(members) == 1:
        return names[members[0]], members
    end = last[-1] if first[:-1] == last[:-1] else ".".join(last)
    return ".".join(first) if len(keys) == 1 else f"{'.'.join(first)} … {end}", members


def _optimizer(record: Record, optimizer: OptimizerRecord, step: int, most_lines: int | None) -> OptimizerMoment:
    at = _index(optimizer.measured, step)
    states = np.array(optimizer.arrays["state"][at])  # (points, params)
    norms = np.array(optimizer.arrays["norm"][at], np.float64)
    # What zero_grad passed by is not measured a second time: it is what it was before.
    before, after = norms[Point.BEFORE_ZERO_GRAD], norms[Point.AFTER_ZERO_GRAD]
    passed = np.isin(states[Point.AFTER_ZERO_GRAD], HAS_NUMBER) & np.isnan(after)
    norms[Point.AFTER_ZERO_GRAD] = np.where(passed, before, after)
    lines = tuple(
        Line(label, len(which), {point: _cell(states[point, which], norms[point, which]) for point in Point})
        for label, which in group([p.name for p in optimizer.parameters], most_lines)
    )
    row = _index(optimizer.rows, step)
    lr = () if row is None else tuple(float(rate) for rate in optimizer.lr[row] if not math.isnan(rate))
    calls = _calls(record, optimizer, row, states, norms)
    kind, variable, parameters = optimizer.kind, optimizer.variable, len(optimizer.parameters)
    return OptimizerMoment(
        optimizer.number, kind, variable, lr, _loss(record, optimizer, row), calls, lines, parameters
    )


def _cell(states: Array, norms: Array) -> Cell:
    counts = Counter(_STATES.get(int(state), GradState.NOT_SEEN) for state in states)
    present = np.isin(states, HAS_NUMBER)
    norm = float(np.sqrt(np.sum(np.square(norms[present])))) if present.any() else math.nan
    return Cell(dict(sorted(counts.items())), norm)


def _calls(
    record: Record, optimizer: OptimizerRecord, row: int | None, states: Array, norms: Array
) -> tuple[Call, ...]:
    """The calls as a tutorial orders them; zero_grad behind backward where it took backward's gradients away."""
    backwards = 1 if row is None else max(1, int(optimizer.scalars["backwards"][row]))
    calls = []
    for phase in POINTS_OF:
        column = optimizer.scalars[f"{phase.value}_site"]
        site = None if row is None else record.site(int(column[row]))
        calls.append(Call(phase, site, backwards if phase is Phase.BACKWARD else 1))
    before, made = Point.BEFORE_ZERO_GRAD, Point.AFTER_BACKWARD
    cleared = row is not None and bool(optimizer.wiring[row] & Wiring.CLEARED)
    same = np.array_equal(states[before], states[made]) and np.array_equal(norms[before], norms[made], equal_nan=True)
    if cleared and same and np.isin(states[made], HAS_NUMBER).any():
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
    """The last one at or before `step`, else the first after it."""
    return max((row for row in rows if row <= step), default=rows[0])
