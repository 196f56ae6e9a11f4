"""The columns of a table on disk: each is read when it is asked for, and kept as long as there is room."""
from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from gradscope.errors import DamagedRecord
from gradscope.record.data_file import Chunk, DataFile, Stored
from gradscope.record.record import Array
from gradscope.record.rowstore import Columns

CACHE_BYTES = 256 << 20


class ColumnCache:
    """Columns read lately, within `limit` bytes; several run folders may share one, and threads that read them."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit, self.held = limit, 0
        self._known: OrderedDict[tuple[Hashable, ...], tuple[int, Array, Array]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Hashable, ...]) -> tuple[int, Array, Array] | None:
        """How many chunks the column is made of, the column, and the array whose first rows it is."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: tuple[Hashable, ...], chunks: int, column: Array, room: Array) -> None:
        """Keep a column; those not used for longest go. One of more than half of all the bytes is not kept."""
        with self._lock:
            self._drop(key)
            if column.nbytes <= self.limit // 2:
                self._known[key] = chunks, column, room
                self.held += column.nbytes
            while self.held > self.limit:
                self._drop(next(iter(self._known)))

    def forget(self, owner: Hashable) -> None:
        """Let go of all whose key begins with `owner`."""
        with self._lock:
            for key in [key for key in self._known if key[0] is owner]:
                self._drop(key)

    def _drop(self, key: tuple[Hashable, ...]) -> None:
        if key in self._known:
            self.held -= self._known.pop(key)[1].nbytes


def fits(chunk: Chunk, wanted: Columns) -> bool:
    """Whether a chunk holds these columns, each in a shape that fits into the one wanted, all of as many rows."""
    rows = set()
    for name, (dtype, shape) in wanted.items():
        stored = chunk.columns.get(name)
        if stored is None or len(stored.shape) != 1 + len(shape) or not np.can_cast(stored.dtype, dtype, "same_kind"):
            return False
        if any(n > most for n, most in zip(stored.shape[1:], shape)):
            return False
        rows.add(stored.shape[0])
    return len(rows) == 1


class StoredColumns(Mapping[str, Array]):
    """Columns by name, rows in the order of their numbers, in the shapes `wanted`: what a chunk lacks is 0 or NaN.

    The chunks must be whole and fit. A column of one or two axes is read as a whole; one of three (rows, points,
    params) is a `StoredColumn`. What was read of a table with fewer chunks, of the same `key`, is not read again.
    """

    def __init__(
        self, data: DataFile, chunks: Sequence[Chunk], wanted: Columns, cache: ColumnCache, key: tuple[Hashable, ...]
    ) -> None:
        self._data, self._chunks, self._wanted, self._cache, self._key = data, chunks, wanted, cache, key
        self._starts = np.cumsum([0, *(chunk.columns["row"].shape[0] for chunk in chunks)])
        self.rows = int(self._starts[-1])

    def __getitem__(self, name: str) -> Array:
        if len(self._wanted[name][1]) > 1:
            return cast(Array, StoredColumn(self, name, *self._wanted[name]))
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted)

    def __len__(self) -> int:
        return len(self._wanted)

    def read(self, name: str, point: int | None = None) -> Array:
        """A column; of one with three axes: all, or # (rows, params) at one point. Not to be written to."""
        column = self._read(name, point)
        return column if self._order is None else column[self._order]

    def row(self, name: str, at: int) -> Array:
        """One row of a column."""
        at = at if self._order is None else int(self._order[at])
        part = int(np.searchsorted(self._starts, at, "right")) - 1
        stored = self._chunks[part].columns[name]
        out = _blank(*self._wanted[name])
        out[tuple(map(slice, stored.shape[1:]))] = self._data.row(stored, at - int(self._starts[part]))
        return out

    @cached_property
    def _order(self) -> Array | None:
        """Where the rows stand that are wanted first, second...; None where they stand in order."""
        rows = self._read("row", None)
        return None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")

    def _read(self, name: str, point: int | None) -> Array:
        """As it stands in the file."""
        shape, count = self._wanted[name][1], len(self._chunks)
        shape = shape if point is None else shape[1:]
        key = (*self._key, name, point, shape)
        chunks, column, room = self._cache.get(key) or (0, None, None)
        if column is not None and chunks >= count:
            return column[: self.rows]
        if column is None or room is None or len(room) < self.rows:
            try:
                more = 0 if column is None else self.rows // 4  # it grows: not to be copied for each chunk
                room = np.empty((self.rows + more, *shape), self._wanted[name][0])
            except (MemoryError, ValueError):
                raise DamagedRecord(f"{self._data.path} claims more than there is room for") from None
            if column is not None:
                room[: len(column)] = column
        for chunk, start in zip(self._chunks[chunks:], self._starts[chunks:].tolist()):
            self._fill(room[start:], chunk.columns[name], point)
        column = room[: self.rows]
        column.flags.writeable = False
        self._cache.put(key, count, column, room)
        return column

    def _fill(self, out: Array, stored: Stored, point: int | None) -> None:
        out = out[: stored.shape[0]]
        if stored.shape[1:] == out.shape[1:] and stored.dtype == out.dtype and point is None:
            self._data.read(stored, out)
            return
        shape = stored.shape[1:] if point is None else stored.shape[2:]
        if shape != out.shape[1:]:
            out[...] = _blank(out.dtype, ())
        if point is not None and point >= stored.shape[1]:
            return
        inside = tuple(map(slice, shape))
        for first, piece in self._data.pieces(stored):
            piece = piece if point is None else piece[:, point]
            out[(slice(first, first + len(piece)), *inside)] = piece


class StoredColumn(NDArrayOperatorsMixin):
    """A column # (rows, points, params) that reads what is asked for: a row, or a point; all of it for all else.

    For a reader of the record it is an array.
    """

    def __init__(self, columns: StoredColumns, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
        self._columns, self._name = columns, name
        self.dtype, self.shape = np.dtype(dtype), (columns.rows, *shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, tuple) and len(which) == 2 and _is_index(which[1]):
            rows, point = which[0], _within(which[1], self.shape[1])
            if _is_index(rows):
                return self[rows][point]
            if isinstance(rows, (slice, list)) or isinstance(rows, np.ndarray) and rows.ndim == 1:
                return self._columns.read(self._name, point)[rows]
        if _is_index(which):
            return self._columns.row(self._name, _within(which, self.shape[0]))
        return np.asarray(self)[which]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        column = self._columns.read(self._name)
        return column.astype(column.dtype if dtype is None else dtype, copy=bool(copy))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        plain = (np.asarray(one) if isinstance(one, StoredColumn) else one for one in inputs)
        return getattr(ufunc, method)(*plain, **settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # numpy looks for its protocols
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


def _is_index(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_, np.ndarray))


def _within(index: Any, size: int) -> int:
    at = operator.index(index)
    if not -size <= at < size:
        raise IndexError(f"index {at} is out of bounds for an axis of size {size}")
    return at % size


def _blank(dtype: Any, shape: tuple[int, ...]) -> Array:
    """Where nothing was seen: 0, or NaN."""
    return np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)
