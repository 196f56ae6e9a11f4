"""Parameters x steps: every kept row of every parameter, summed up in as many columns and lines as a screen has."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from gradscope.board.axis import Axis, axis_of, usable
from gradscope.board.encoding import encode
from gradscope.board.lines import Lines, Place
from gradscope.events import GradState, Point
from gradscope.record.record import Array, OptimizerRecord, Stream

STATISTICS = ("gradient", "update", "weight", "state")
TELLING = (GradState.STALE, GradState.NONE, GradState.ZERO, GradState.ACCUMULATED, GradState.FRESH, GradState.NOT_SEEN)
ABSENT = 255  # in place of a state: the optimizer was not measured in this row
CHUNK = 1 << 18  # values looked at together
_RANK = np.full(256, len(TELLING), np.uint8)  # of each state; the most telling one is 0
_RANK[[int(state) for state in TELLING]] = np.arange(len(TELLING))
_STATE = np.array([*map(int, TELLING), int(GradState.NOT_SEEN)], np.uint8)  # by rank
_ZERO, _STALE = int(GradState.ZERO), int(GradState.STALE)


@dataclass(frozen=True)
class Cells:
    """What is in each cell # (lines, columns) of a picture."""

    axis: Axis
    mean: Array
    low: Array
    high: Array
    not_finite: Array
    state: Array
    counts: Array | None  # (lines, columns, states)


@dataclass(frozen=True)
class Question:
    """What a picture is to show: a range of steps (inclusive, None: open) in at most so many columns."""

    start: int | None = None
    stop: int | None = None
    width: int = 800


def measured_steps(stream: Stream) -> Array:
    """The steps at which any of the stream's optimizers was measured."""
    return usable(np.concatenate([np.asarray(o.measured) for o in stream.optimizers]))


def end_of(stream: Stream) -> int:
    """The step after the stream's last one."""
    return max(int(o.rows[-1]) for o in stream.optimizers) + 1


class Table:
    """One stream's measured rows of those parameters that some lines need, in tree order."""

    def __init__(self, stream: Stream, order: Sequence[Place], lines: Lines, axis: Axis, point: Point) -> None:
        self.point = point
        needed = np.zeros(len(order) + 1, np.int64)
        np.add.at(needed, lines.starts, 1)
        np.add.at(needed, lines.stops, -1)
        wanted = np.cumsum(needed)[:-1] > 0
        rank = np.append(0, np.cumsum(wanted))
        self.width = int(rank[-1])
        self.starts, self.stops = rank[lines.starts], rank[lines.stops]
        self.optimizers: list[tuple[OptimizerRecord, Array, Array, Array]] = []
        places = np.array([(p.optimizer, p.column) for p in order], np.int64).reshape(-1, 2)
        for i, optimizer in enumerate(stream.optimizers):
            mine = np.flatnonzero((places[:, 0] == i) & wanted)
            measured = np.asarray(optimizer.measured)
            if len(mine) and len(measured):
                at = np.minimum(np.searchsorted(measured, axis.rows), len(measured) - 1)
                at = np.where(measured[at] == axis.rows, at, -1)
                self.optimizers.append((optimizer, places[mine, 1], rank[mine], at))

    def part(self, rows: slice, name: str) -> Array:
        """# (rows, parameters) One of "state", "norm", "weight_norm", "update_norm" in some rows of the axis."""
        fill: Any = ABSENT if name == "state" else np.nan
        kind = np.uint8 if name == "state" else np.float32
        out = np.full((rows.stop - rows.start, self.width), fill, kind)
        for optimizer, columns, targets, at in self.optimizers:
            values, here = _column(optimizer, name, self.point), at[rows]
            there = np.flatnonzero(here >= 0)
            out[np.ix_(there, targets)] = values[here[there]][:, columns]
        return out


def _column(optimizer: OptimizerRecord, name: str, point: Point) -> Array:
    if name == "state":
        return optimizer.grad_state(point)
    return optimizer.grad_norm(point) if name == "norm" else optimizer.arrays[name]


def cells_of(
    stream: Stream,
    order: Sequence[Place],
    stat: str,
    question: Question,
    lines: Lines,
    point: Point = Point.BEFORE_STEP,
) -> Cells:
    """Every measured row in the range asked for, by line and column.

    A line's value in a row is the root of the sum of squares over its parameters that have one; for "update", that of
    the updates over that of the weights.
    """
    axis = axis_of(measured_steps(stream), end_of(stream), question.start, question.stop, question.width)
    table = Table(stream, order, lines, axis, point)
    shape = (len(lines), len(axis))
    total, known = np.zeros(shape), np.zeros(shape, np.int64)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    bad = np.zeros(shape, np.int64)
    ranks = np.full(shape, len(TELLING), np.uint8)
    counts = np.zeros((*shape, len(TELLING)), np.int64) if stat == "state" else None
    for column in range(len(axis)):
        for rows in _chunks(int(axis.cuts[column]), int(axis.cuts[column + 1]), table.width):
            states = table.part(rows, "state")
            values, has = _values(table, rows, stat, states)
            for i, (start, stop) in enumerate(zip(table.starts.tolist(), table.stops.tolist())):
                some = states[:, start:stop]
                ranks[i, column] = min(ranks[i, column], _RANK[some].min(initial=len(TELLING)))
                if counts is not None:
                    counts[i, column] += np.bincount(some.reshape(-1), minlength=256)[: len(TELLING)]
                line, there = _line(values, has, start, stop)
                finite = there & np.isfinite(line)
                bad[i, column] += int((there & ~finite).sum())
                good = line[finite]
                total[i, column] += good.sum()
                known[i, column] += len(good)
                low[i, column] = min(low[i, column], good.min(initial=np.inf))
                high[i, column] = max(high[i, column], good.max(initial=-np.inf))
    none = known == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / known
    low[none] = high[none] = np.nan
    return Cells(axis, mean, low, high, bad, _STATE[ranks], counts)


def _chunks(start: int, stop: int, width: int) -> Iterator[slice]:
    size = max(1, CHUNK // max(1, width))
    for at in range(start, stop, size):
        yield slice(at, min(stop, at + size))


def _values(table: Table, rows: slice, stat: str, states: Array) -> tuple[Any, Array]:
    """Squares # (rows, parameters), those of the updates and of the weights for "update"; and where there are some."""
    present = (states >= _ZERO) & (states <= _STALE)
    seen = (states > 0) & (states <= _STALE)
    if stat in ("gradient", "state"):
        values = table.part(rows, "norm")
        return (values.astype(np.float64) ** 2, None), present
    weights = table.part(rows, "weight_norm").astype(np.float64)
    if stat == "weight":
        return (weights**2, None), seen | ~np.isnan(weights)
    updates = table.part(rows, "update_norm").astype(np.float64)
    scheduled = (~np.isnan(updates)).any(axis=1, keepdims=True)
    has = (seen & (scheduled | np.isnan(weights))) | ~np.isnan(updates)
    return (updates**2, weights**2), has


def _line(values: Any, has: Array, start: int, stop: int) -> tuple[Array, Array]:
    squares, others = values
    mine = has[:, start:stop]
    there: Array = mine.any(axis=1)
    value = np.sqrt(np.where(mine, squares[:, start:stop], 0.0).sum(axis=1))
    if others is not None:
        under = np.sqrt(np.where(mine, others[:, start:stop], 0.0).sum(axis=1))
        there = np.logical_and(there, under != 0)
        value = np.divide(value, under, out=np.zeros_like(value), where=there)
    return value, there


def heatmap(stream: Stream, order: Sequence[Place], stat: str, question: Question, lines: Lines) -> dict[str, Any]:
    """The document."""
    cells = cells_of(stream, order, stat, question, lines)
    document = {
        "stat": stat,
        "edges": encode(cells.axis.edges, "f8"),
        "rows": encode(cells.axis.counts, "i4"),
        "mean": encode(cells.mean, "f4"),
        "low": encode(cells.low, "f4"),
        "high": encode(cells.high, "f4"),
        "not_finite": encode(cells.not_finite, "u2"),
        "state": encode(cells.state, "u1"),
    }
    if cells.counts is not None:
        document["counts"] = encode(cells.counts, "u2")
    return document
