"""Rows of named columns, bounded: the first and the newest stay whole, the middle is thinned."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Columns = Mapping[str, tuple[Any, tuple[int, ...]]]  # name -> (dtype, shape of one row)


class _Block:
    """Up to `capacity` rows in arrays that grow by doubling."""

    def __init__(self, columns: Columns, capacity: int) -> None:
        self.capacity, self.size = capacity, 0
        self.arrays: dict[str, Array] = {n: np.empty((0, *shape), dtype) for n, (dtype, shape) in columns.items()}

    @property
    def room(self) -> int:
        return self.capacity - self.size

    def reserve(self, more: int = 1) -> None:
        for name, array in self.arrays.items():
            if self.size + more > len(array):
                room = min(self.capacity, max(16, 2 * self.size, self.size + more))
                bigger = np.empty((room, *array.shape[1:]), array.dtype)
                bigger[: self.size] = array[: self.size]
                self.arrays[name] = bigger

    def append(self, row: Mapping[str, Any]) -> None:
        self.reserve()
        for name, array in self.arrays.items():
            array[self.size] = row[name]
        self.size += 1

    def extend(self, rows: Mapping[str, Any], part: slice) -> None:
        count = len(range(part.start, part.stop, part.step or 1))
        self.reserve(count)
        for name, array in self.arrays.items():
            array[self.size : self.size + count] = rows[name][part]
        self.size += count

    def keep(self, which: Any) -> None:
        for name, array in self.arrays.items():
            kept = array[: self.size][which]
            self.arrays[name] = kept.copy()
        self.size = len(next(iter(self.arrays.values())))


class RowStore:
    """Keeps `head` first rows, `tail` newest, and of those between every k-th; k doubles when `middle` is full."""

    def __init__(self, columns: Columns, head: int, middle: int, tail: int) -> None:
        self.total = 0
        self._set(columns)
        self._empty(head, middle, tail)

    def _set(self, columns: Columns) -> None:
        self.columns = columns
        sizes = (np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64) for dtype, shape in columns.values())
        self.row_bytes = int(sum(sizes))

    def _empty(self, head: int, middle: int, tail: int) -> None:
        self._head, self._middle = _Block(self.columns, head), _Block(self.columns, middle)
        self._tail = _Block(self.columns, tail)
        self._oldest = 0  # where the ring's oldest row stands, once it is full
        self._passed = 0  # rows that have left the ring
        self.stride = 1

    def append(self, row: Mapping[str, Any]) -> None:
        """Take in one row: a number, or an array, by column."""
        if self._head.room or self._tail.room:
            self.total += 1
            (self._head if self._head.room else self._tail).append(row)
        else:
            self.extend({name: np.asarray(row[name])[None] for name in self.columns}, 1)

    def extend(self, rows: Mapping[str, Any], count: int) -> None:
        """Take in `count` rows, each column # (count, ...)."""
        self.total += count
        at = 0
        while at < count:
            block = self._head if self._head.room else self._tail
            if block.room:
                part = slice(at, min(count, at + block.room))
                block.extend(rows, part)
            else:
                part = slice(at, min(count, at + self._tail.capacity - self._oldest))
                self._turn(rows, part)
            at = part.stop

    def _turn(self, rows: Mapping[str, Any], part: slice) -> None:
        """The ring is full: the newest rows take the places of as many oldest ones, which leave."""
        places = slice(self._oldest, self._oldest + part.stop - part.start)
        self._retire(places)
        self._passed += part.stop - part.start
        for name, array in self._tail.arrays.items():
            array[places] = rows[name][part]
        self._oldest = places.stop % self._tail.capacity

    def _retire(self, places: slice) -> None:
        """Of the rows at these places of the ring, every k-th of all that have ever left it is kept."""
        at, end, middle = places.start, places.stop, self._middle
        while True:
            at += -(self._passed + at - places.start) % self.stride
            if at >= end:
                return
            if middle.room == 0:
                middle.keep(slice(0, None, 2))
                self.stride *= 2
                continue
            stop = min(end, at + middle.room * self.stride)
            middle.extend(self._tail.arrays, slice(at, stop, self.stride))
            at = stop

    def amend(self, name: str, value: Any) -> None:
        """Change a column of the newest row."""
        block = self._tail if self._tail.size else self._head
        block.arrays[name][(self._oldest - 1) % block.size] = value

    def resize(self, limit: int) -> None:
        """Fit into `limit` bytes: fewer whole rows, a thinner middle. Never below 16 rows a part."""
        rows = max(48, limit // max(1, self.row_bytes))
        head, middle, tail = self._head.capacity, self._middle.capacity, self._tail.capacity
        if rows >= head + middle + tail:
            return
        share, total, kept = rows / (head + middle + tail), self.total, self.snapshot()
        sizes = [max(16, int(capacity * share)) for capacity in (head, middle, tail)]
        self._empty(*sizes)
        self.extend(kept, len(next(iter(kept.values()))))
        self.total = total

    def widen(self, columns: Columns) -> None:
        """Give rows more room along their own axes; what the rows so far hold there is 0 or NaN."""
        self._set(columns)
        for block in (self._head, self._middle, self._tail):
            block.arrays = pad(block.arrays, columns)

    def _unroll(self) -> None:
        if self._oldest:
            order = np.r_[self._oldest : self._tail.size, 0 : self._oldest]
            self._tail.keep(order)
            self._oldest = 0

    def kept(self) -> Mapping[str, Array]:
        """All kept rows, oldest first. Good until the next row: a column is put together when it is asked for."""
        self._unroll()
        return _Kept([b for b in (self._head, self._middle, self._tail) if b.size] or [self._head], self.columns)

    def snapshot(self) -> dict[str, Array]:
        """The same as copies, which stay as they are."""
        return {name: column.copy() for name, column in self.kept().items()}


class _Kept(Mapping[str, Array]):
    """The columns of some blocks."""

    def __init__(self, blocks: list[_Block], columns: Columns) -> None:
        self._blocks, self._columns = blocks, columns
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        column = self._made.get(name)
        if column is None:
            parts = [block.arrays[name][: block.size] for block in self._blocks]
            column = self._made[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def pad(arrays: Mapping[str, Array], wanted: Columns) -> dict[str, Array]:
    """The columns in the shapes of `wanted`; what is new is 0 ("not seen") or NaN."""
    padded = {}
    for name, (dtype, shape) in wanted.items():
        array = arrays[name]
        if array.shape[1:] != shape:
            bigger = np.full((len(array), *shape), np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)
            bigger[tuple(slice(0, n) for n in array.shape)] = array
            array = bigger
        padded[name] = array
    return padded
