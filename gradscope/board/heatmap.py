"""Parameters x steps: every kept row of every parameter, summed up in as many columns and lines as a screen has."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import numpy as np

from gradscope.board.axis import Axis, axis_of
from gradscope.board.encoding import encode
from gradscope.board.lines import Lines, Place
from gradscope.board.measured import ABSENT, MOST_ROWS, TELLING, Table, Values, end_of, measured_steps
from gradscope.events import GradState, Point
from gradscope.record.record import Array, Stream

STATISTICS = ("gradient", "update", "weight", "state")
_STATES = np.array([*map(int, TELLING), int(GradState.NOT_SEEN)], np.uint8)  # by rank
_BITS = MOST_ROWS.bit_length()  # of a packed count
_PACKED = np.array([1 << (_BITS * int(state)) for state in TELLING] + [0], np.uint64)  # by rank


@dataclass(frozen=True)
class Question:
    """What a picture is to show: a range of steps (inclusive, None: open) in at most so many columns."""

    start: int | None = None
    stop: int | None = None
    width: int = 800


@dataclass(frozen=True)
class Cells:
    """What is in each cell of a picture. All are # (columns, lines); `counts` # (columns, lines, states)."""

    axis: Axis
    mean: Array
    low: Array
    high: Array
    not_finite: Array
    state: Array
    counts: Array | None


class _Sums:
    """Takes in the rows of one column after the other."""

    def __init__(self, columns: int, lines: int) -> None:
        shape = columns, lines
        self.total, self.known, self.bad = np.zeros(shape), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self.low, self.high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.ranks = np.full(shape, ABSENT, np.uint8)

    def add(self, column: int, lines: Array, rows: slice, of: Values, ranks: Array) -> None:
        """Some rows of a block, which lie in one column; `lines` are those that the values are of."""
        self.ranks[column, lines] = np.minimum(self.ranks[column, lines], ranks[rows].min(axis=0))
        values, known = of.within(rows)
        if not len(values):
            return
        total = values.sum(axis=0, dtype=np.float64)
        whole = np.isfinite(total)
        if known is not None:
            whole &= known.all(axis=0)
        if whole.all():
            self._enter(column, lines, total, len(values), values.min(axis=0), values.max(axis=0))
        else:
            good = np.flatnonzero(whole)
            some = values[:, good]
            self._enter(column, lines[good], total[good], len(values), some.min(axis=0), some.max(axis=0))
            left = np.flatnonzero(~whole)
            self._add_some(column, lines[left], values[:, left], None if known is None else known[:, left])

    def _add_some(self, column: int, lines: Array, values: Array, known: Array | None) -> None:
        """The same for lines whose values are not all there, or not all finite."""
        finite = np.isfinite(values)
        bad = ~finite if known is None else known & ~finite
        if known is not None:
            finite &= known
        total = np.where(finite, values, 0.0).sum(axis=0, dtype=np.float64)
        low, high = np.where(finite, values, np.inf).min(axis=0), np.where(finite, values, -np.inf).max(axis=0)
        self.bad[column, lines] += bad.sum(axis=0, dtype=np.int32)
        self._enter(column, lines, total, finite.sum(axis=0, dtype=np.int32), low, high)

    def _enter(self, column: int, lines: Array, total: Array, known: Any, low: Array, high: Array) -> None:
        self.total[column, lines] += total
        self.known[column, lines] += known
        self.low[column, lines] = np.minimum(self.low[column, lines], low)
        self.high[column, lines] = np.maximum(self.high[column, lines], high)

    def cells(self, axis: Axis, counts: Array | None) -> Cells:
        none = self.known == 0
        self.low[none] = self.high[none] = np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.total / self.known
        return Cells(axis, mean, self.low, self.high, self.bad, _STATES[self.ranks], counts)


def cells_of(
    stream: Stream,
    order: Sequence[Place],
    stat: str,
    question: Question,
    lines: Lines,
    point: Point = Point.BEFORE_STEP,
) -> Cells:
    """Every measured row in the range asked for, by column and line."""
    axis = axis_of(measured_steps(stream), end_of(stream), question.start, question.stop, question.width)
    table = Table(stream, order, lines, axis.rows, point)
    sums = _Sums(len(axis), len(lines))
    counts = np.zeros((len(axis), len(lines), len(TELLING)), np.int32) if stat == "state" else None
    for block in table.blocks():
        ranks = table.ranks(block)
        if counts is not None:
            _count(counts, table, axis, block, ranks)
        of_lines = zip((table.singles, table.modules), table.lines(block, stat, ranks), table.telling(ranks))
        for which, values, telling in of_lines:
            for column, rows in _columns(axis, block) if len(which) else ():
                sums.add(column, which, rows, values, telling)
    return sums.cells(axis, counts)


def _columns(axis: Axis, block: slice) -> Iterator[tuple[int, slice]]:
    """The columns that a block has a part in, and which of its rows that is."""
    first, last = np.searchsorted(axis.cuts, (block.start, block.stop - 1), "right") - 1
    cuts = np.clip(axis.cuts[first : last + 2], block.start, block.stop) - block.start
    for column, start, stop in zip(range(first, last + 1), cuts.tolist(), cuts[1:].tolist()):
        yield column, slice(start, stop)


def _count(counts: Array, table: Table, axis: Axis, block: slice, ranks: Array) -> None:
    """How many parameters are in which state, in all rows together: six counts packed into a number."""
    packed = _PACKED.take(ranks)
    columns = list(_columns(axis, block))
    sums = np.array([packed[rows].sum(axis=0) for _, rows in columns])
    here = slice(columns[0][0], columns[-1][0] + 1)
    for state in range(len(TELLING)):
        of_state = (sums >> np.uint64(_BITS * state)).astype(np.int32) & ((1 << _BITS) - 1)
        for which, number in zip((table.singles, table.modules), table.sums(of_state)):
            counts[here, which, state] += number


def heatmap(stream: Stream, order: Sequence[Place], stat: str, question: Question, lines: Lines) -> dict[str, Any]:
    """The document."""
    cells = cells_of(stream, order, stat, question, lines)
    document = {
        "stat": stat,
        "edges": encode(cells.axis.edges, "f8"),
        "rows": encode(cells.axis.counts, "i4"),
        "mean": encode(cells.mean.T, "f4"),
        "low": encode(cells.low.T, "f4"),
        "high": encode(cells.high.T, "f4"),
        "not_finite": encode(cells.not_finite.T, "u2"),
        "state": encode(cells.state.T, "u1"),
    }
    if cells.counts is not None:
        document["counts"] = encode(cells.counts.transpose(1, 0, 2), "u2")
    return document
