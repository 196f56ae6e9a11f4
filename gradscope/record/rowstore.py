"""Rows of named columns, bounded: the first and the newest stay whole, the middle is thinned."""
from __future__ import annotations

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

    def reserve(self) -> None:
        for name, array in self.arrays.items():
            if self.size == len(array):
                room = min(self.capacity, max(16, 2 * self.size))
                bigger = np.empty((room, *array.shape[1:]), array.dtype)
                bigger[: self.size] = array
                self.arrays[name] = bigger

    def append(self, row: Mapping[str, Any]) -> None:
        self.reserve()
        for name, array in self.arrays.items():
            array[self.size] = row[name]
        self.size += 1

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
        self.total += 1
        if self._head.size < self._head.capacity:
            self._head.append(row)
        elif self._tail.size < self._tail.capacity:
            self._tail.append(row)
        else:
            if self._passed % self.stride == 0:
                self._retire({name: array[self._oldest] for name, array in self._tail.arrays.items()})
            self._passed += 1
            for name, array in self._tail.arrays.items():
                array[self._oldest] = row[name]
            self._oldest = (self._oldest + 1) % self._tail.capacity

    def amend(self, name: str, value: Any) -> None:
        """Change a column of the newest row."""
        block = self._tail if self._tail.size else self._head
        block.arrays[name][(self._oldest - 1) % block.size] = value

    def _retire(self, row: Mapping[str, Any]) -> None:
        if self._middle.size == self._middle.capacity:
            self._middle.keep(slice(0, None, 2))
            self.stride *= 2
        if self._passed % self.stride == 0:
            self._middle.append(row)

    def resize(self, limit: int) -> None:
        """Fit into `limit` bytes: fewer whole rows, a thinner middle. Never below 16 rows a part."""
        rows = max(48, limit // max(1, self.row_bytes))
        head, middle, tail = self._head.capacity, self._middle.capacity, self._tail.capacity
        if rows >= head + middle + tail:
            return
        share, total, kept = rows / (head + middle + tail), self.total, self.snapshot()
        sizes = [max(16, int(capacity * share)) for capacity in (head, middle, tail)]
        self._empty(*sizes)
        for i in range(len(next(iter(kept.values())))):
            self.append({name: column[i] for name, column in kept.items()})
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

    def snapshot(self) -> dict[str, Array]:
        """All kept rows, oldest first: copies, so that what is read does not change under the reader."""
        self._unroll()
        blocks = [b for b in (self._head, self._middle, self._tail) if b.size] or [self._head]
        return {name: np.concatenate([b.arrays[name][: b.size] for b in blocks]) for name in self.columns}


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
