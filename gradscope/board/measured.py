"""A stream's measured rows, those of all its optimizers side by side, block by block: values of lines in each row."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Sequence

import numpy as np

from gradscope.board.axis import usable
from gradscope.board.lines import Lines, Place
from gradscope.events import GradState, Point
from gradscope.record.record import Array, OptimizerRecord, Stream

# The most telling state first: where parameters or rows differ, this is what is told of them.
TELLING = (GradState.STALE, GradState.NONE, GradState.ZERO, GradState.ACCUMULATED, GradState.FRESH, GradState.NOT_SEEN)
NONE, FRESH, ABSENT = TELLING.index(GradState.NONE), TELLING.index(GradState.FRESH), len(TELLING)  # ranks in it
BLOCK = 1 << 18  # values looked at together,
MOST_ROWS, MANY = 1023, 8  # and rows; more optimizers than this are many
_RANKS = np.array([TELLING.index(GradState(min(s, 6) % 6)) for s in range(255)] + [ABSENT], np.uint8)  # of each state
_ABSENT_STATE = 255  # in place of a state: the optimizer was not measured in this row


@dataclass(frozen=True)
class Values:
    """Of some lines in each row: `values` # (rows, lines), and where they have one (None: everywhere).

    `at` # (rows,) are the rows of the block that they are of, ascending; None: all of them.
    """

    values: Array
    known: Array | None
    at: Array | None = None

    def within(self, rows: slice) -> tuple[Array, Array | None]:
        """The values and where there are some, in some rows of the block."""
        if self.at is not None:
            rows = slice(*np.searchsorted(self.at, (rows.start, rows.stop)).tolist())
        return self.values[rows], None if self.known is None else self.known[rows]


def measured_steps(stream: Stream) -> Array:
    """The steps at which any of the stream's optimizers was measured."""
    return usable(np.concatenate([np.asarray(o.measured) for o in stream.optimizers]))


def end_of(stream: Stream) -> int:
    """The step after the stream's last one."""
    return max((int(o.rows[-1]) + 1 for o in stream.optimizers if len(o.rows)), default=0)


@dataclass(frozen=True)
class _Part:
    """One optimizer's share in a table: its `columns`, where they stand, and where it has each row (-1: nowhere)."""

    optimizer: OptimizerRecord
    columns: Array
    targets: Array
    at: Array
    every: bool  # the columns are all that the optimizer has, in its own order

    @cached_property
    def first(self) -> int | None:
        """Where its rows begin, if it has all of them side by side."""
        here = self.at
        return int(here[0]) if len(here) and here[0] >= 0 and bool((np.diff(here) == 1).all()) else None


class Table:
    """Those parameters of a stream that some lines need, in tree order; a line is a range of them."""

    def __init__(self, stream: Stream, order: Sequence[Place], lines: Lines, rows: Array, point: Point) -> None:
        needed = np.zeros(len(order) + 1, np.int64)
        np.add.at(needed, lines.starts, 1)
        np.add.at(needed, lines.stops, -1)
        wanted = np.cumsum(needed)[:-1] > 0
        rank = np.append(0, np.cumsum(wanted))
        self.rows, self.width, self.point = len(rows), int(rank[-1]), point
        starts, stops = rank[lines.starts], rank[lines.stops]
        single = stops - starts == 1
        self.singles, self.modules = np.flatnonzero(single), np.flatnonzero(~single)
        self._columns = starts[single]
        self._ranges = np.stack([starts[~single], stops[~single]], axis=1)
        self._parts: list[_Part] = []
        places = np.array([(p.optimizer, p.column) for p in order], np.int64).reshape(-1, 2)
        for i, optimizer in enumerate(stream.optimizers):
            mine = np.flatnonzero((places[:, 0] == i) & wanted)
            measured = np.asarray(optimizer.measured)
            if len(mine) and len(measured):
                at = np.minimum(np.searchsorted(measured, rows), len(measured) - 1)
                at = np.where(measured[at] == rows, at, -1)
                columns = places[mine, 1]
                every = np.array_equal(columns, np.arange(len(optimizer.parameters)))
                self._parts.append(_Part(optimizer, columns, rank[mine], at, every))

    def blocks(self) -> Iterator[slice]:
        """Rows that are looked at together."""
        values = BLOCK if len(self._parts) <= MANY else 4 * BLOCK  # each optimizer takes its time
        size = min(MOST_ROWS, max(1, values // max(1, self.width)))
        for start in range(0, self.rows, size):
            yield slice(start, min(self.rows, start + size))

    def ranks(self, rows: slice) -> Array:
        """# (rows, parameters) How telling each state is, as an index in `TELLING`."""
        return _RANKS.take(self._gather(rows, "state"))

    def lines(self, rows: slice, stat: str, ranks: Array) -> tuple[Values, Values]:
        """The values of the lines that are one parameter, and of those that are several.

        A line's value is the root of the sum of squares over its parameters that have one; for "update", that of the
        updates over that of the weights, where these are not all zero.
        """
        if stat == "update":
            return self._ratios(rows, ranks)
        if stat == "weight":
            norms = self._gather(rows, "weight_norm")
            has = (ranks <= FRESH) | ~np.isnan(norms)
        else:
            norms = self._gather(rows, "norm")
            has = (ranks <= FRESH) & (ranks != NONE)
        there = None if has.all() else has
        one = Values(norms[:, self._columns], None if there is None else there[:, self._columns])
        if not len(self.modules):
            return one, Values(np.zeros((len(norms), 0)), None)
        several = np.sqrt(self._sums(_squares(norms, there)))
        return one, Values(several, None if there is None else self._any(there))

    def telling(self, ranks: Array) -> tuple[Array, Array]:
        """The most telling state of each line in each row: lines of one parameter, and of several."""
        one = ranks[:, self._columns]
        if not len(self.modules):
            return one, np.zeros((len(ranks), 0), np.uint8)
        return one, self._reduce(np.minimum, ranks)

    def sums(self, counts: Array) -> tuple[Array, Array]:
        """Of numbers by parameter # (any, parameters) those of each line: lines of one parameter, and of several."""
        return counts[:, self._columns], self._sums(counts)

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _ratios(self, rows: slice, ranks: Array) -> tuple[Values, Values]:
        updates, weights = self._gather(rows, "update_norm"), self._gather(rows, "weight_norm")
        scheduled = self._scheduled(rows)
        at = np.flatnonzero(scheduled.any(axis=1) | np.isnan(weights).any(axis=1))  # most rows measure no update
        updates, weights, ranks, scheduled = updates[at], weights[at], ranks[at], scheduled[at]
        has = ((ranks <= FRESH) & (scheduled | np.isnan(weights))) | ~np.isnan(updates)
        over, under = _squares(updates, has), _squares(weights, has)
        known = (has[:, self._columns], self._any(has))
        ratios = []
        for i, pick in enumerate((self._pick, self._sums)):
            above, below = np.sqrt(pick(over)), np.sqrt(pick(under))
            some = known[i] & (below != 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratios.append(Values(above / below, None if some.all() else some, at))
        return ratios[0], ratios[1]

    def _scheduled(self, rows: slice) -> Array:
        """# (rows, parameters) Whether its optimizer has measured updates in a row: some of them are not NaN."""
        out = np.zeros((rows.stop - rows.start, self.width), np.bool_)
        for part in self._parts:
            at = part.at[rows]
            there = np.flatnonzero(at >= 0)
            if len(there):
                updates = np.asarray(part.optimizer.arrays["update_norm"])
                inner = updates[at[0] : at[-1] + 1] if part.first is not None else updates[at[there]]
                out[there[:, None], part.targets] = ~np.isnan(inner).all(axis=1)[:, None]
        return out

    def _pick(self, values: Array) -> Array:
        return np.asarray(values[:, self._columns])

    def _gather(self, rows: slice, name: str) -> Array:
        """# (rows, parameters) One column of the record in some rows; not to be written to."""
        whole = self._parts[0] if len(self._parts) == 1 else None
        if whole is not None and whole.first is not None:
            values = self._column(whole.optimizer, name)[whole.first + rows.start : whole.first + rows.stop]
            return values if whole.every else values[:, whole.columns]
        state = name == "state"
        fill: Any = _ABSENT_STATE if state else np.nan
        out = np.full((rows.stop - rows.start, self.width), fill, np.uint8 if state else np.float32)
        for part in self._parts:
            values, at = self._column(part.optimizer, name), part.at[rows]
            if part.first is not None:
                out[:, part.targets] = values[at[0] : at[-1] + 1][:, part.columns]
            else:
                there = np.flatnonzero(at >= 0)
                out[there[:, None], part.targets] = values[at[there][:, None], part.columns]
        return out

    def _column(self, optimizer: OptimizerRecord, name: str) -> Array:
        if name == "state":
            return optimizer.grad_state(self.point)
        return optimizer.grad_norm(self.point) if name == "norm" else np.asarray(optimizer.arrays[name])

    def _sums(self, values: Array) -> Array:
        return self._reduce(np.add, values)

    def _any(self, there: Array) -> Array:
        return self._reduce(np.logical_or, there)

    def _reduce(self, ufunc: Any, values: Array) -> Array:
        """# (rows, modules) of # (rows, parameters)"""
        out = np.zeros((len(values), len(self.modules)), values.dtype)
        inner = self._ranges[:, 1] < values.shape[1]  # `reduceat` takes no end beyond the last one
        if inner.any():
            bounds = self._ranges[inner].reshape(-1)
            out[:, inner] = ufunc.reduceat(values[:, : bounds.max() + 1], bounds, axis=1)[:, ::2]
        for i in np.flatnonzero(~inner):
            out[:, i] = ufunc.reduce(values[:, self._ranges[i, 0] :], axis=1)
        return out


def _squares(norms: Array, there: Array | None) -> Array:
    squares = np.square(norms, dtype=np.float64)
    if there is not None:
        squares[~there] = 0.0
    return squares
