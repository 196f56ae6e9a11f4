"""The loss of a whole run in at most 128 blocks of equal length: what a rise over thousands of rows is judged by."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIMIT = 128  # blocks; then pairs are merged, so that each stands for twice as many rows
_COLUMNS = ("row", "rows", "count", "mean", "squares", "low", "high", "lr", "newest")
_ROWS = _COLUMNS.index("rows")
_COURSES = 16
_CHUNK = 256  # rows that wait to be summed up together


@dataclass(frozen=True)
class Blocks:
    """Sums over 2^k rows each, oldest first; the last block may hold fewer rows.

    All are # (blocks,): `row` of the first loss, `rows` taken in, `count` of finite losses among them, their `mean`,
    `squares` (the sum of squared deviations from it), `low` and `high`, the mean `lr`, and `newest`, the row of the
    last loss.
    """

    size: int  # 2^k
    columns: Mapping[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["row"])

    @property
    def whole(self) -> Blocks:
        """Those that hold all their rows."""
        full = self.columns["rows"] >= self.size
        return Blocks(self.size, {name: column[full] for name, column in self.columns.items()})


class BlockSums:
    """Takes one loss after another, whatever their number, in constant memory."""

    def __init__(self) -> None:
        self.size = 1
        self._blocks = np.empty((0, len(_COLUMNS)))
        self._waiting = np.empty((_CHUNK + 1, 3))  # the newest may be amended still
        self._count = 0

    def append(self, row: int, loss: float, lr: float) -> None:
        """Take in the loss of a row and its learning rate (of several groups: the largest)."""
        self.extend(np.array([[row, loss, lr]], np.float64))

    def extend(self, rows: Floats) -> None:
        """Take in several # (rows, 3): row, loss, lr."""
        while len(rows):
            part = rows[: _CHUNK + 1 - self._count]
            self._waiting[self._count : self._count + len(part)] = part
            self._count += len(part)
            rows = rows[len(part) :]
            if self._count > _CHUNK:
                self._sum_up(self._waiting[:-1].copy())
                self._waiting[0], self._count = self._waiting[-1], 1

    def amend(self, loss: float) -> None:
        """Change the newest loss."""
        if self._count:
            self._waiting[self._count - 1, 1] = loss

    def view(self) -> Blocks:
        """The blocks so far: a copy."""
        copy = self.copy()
        copy._sum_up(copy._waiting[: copy._count])
        columns = {name: copy._blocks[:, i].copy() for i, name in enumerate(_COLUMNS)}
        return Blocks(copy.size, columns)

    def copy(self) -> BlockSums:
        copy = BlockSums()
        copy.size, copy._blocks = self.size, self._blocks.copy()
        copy._waiting, copy._count = self._waiting.copy(), self._count
        return copy

    def _sum_up(self, rows: Floats) -> None:
        while len(rows):
            held = self.size if not len(self._blocks) else int(self._blocks[-1, _ROWS])
            if held == self.size and len(self._blocks) == LIMIT:
                self._blocks = _merged(self._blocks[0::2], self._blocks[1::2])
                self.size *= 2
                held = self.size
            if held < self.size:
                part = rows[: self.size - held]
                self._blocks[-1:] = _merged(self._blocks[-1:], _sums(part[None]))
            else:  # whole blocks as far as there are rows and room, else one that is not whole
                several = max(1, min(len(rows) // self.size, LIMIT - len(self._blocks)))
                part = rows[: several * self.size]
                self._blocks = np.concatenate([self._blocks, _sums(part.reshape(several, -1, 3))])
            rows = rows[len(part) :]


def _sums(parts: Floats) -> Floats:
    """# (blocks, columns) of rows # (blocks, rows, 3): row, loss, lr."""
    row, loss, lr = np.moveaxis(parts, -1, 0)
    finite = np.isfinite(loss)
    count = finite.sum(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(finite, loss, 0.0).sum(axis=1) / np.maximum(count, 1)
        squares = np.where(finite, loss - mean[:, None], 0.0)
        squares = (squares * squares).sum(axis=1)
    low, high = np.where(finite, loss, np.inf).min(axis=1), np.where(finite, loss, -np.inf).max(axis=1)
    rows = np.full(len(parts), parts.shape[1])
    return np.stack([row[:, 0], rows, count, mean, squares, low, high, lr.mean(axis=1), row[:, -1]], axis=1)


class Courses:
    """Sums for each course of losses apart: what one line's losses do says nothing of another's."""

    def __init__(self) -> None:
        self._sums: dict[int, BlockSums] = {}

    def extend(self, course: int, rows: Floats) -> None:
        """Take in losses # (rows, 3): row, loss, lr. Of more than 16 courses, the later ones are passed over."""
        sums = self._sums.get(course)
        if sums is None and len(self._sums) < _COURSES:
            sums = self._sums[course] = BlockSums()
        if sums is not None:
            sums.extend(rows)

    def amend(self, course: int, loss: float) -> None:
        """Change the newest loss of a course."""
        if course in self._sums:
            self._sums[course].amend(loss)

    def view(self) -> dict[int, Blocks]:
        """The blocks of each course so far: copies."""
        return {course: sums.view() for course, sums in self._sums.items()}

    def copy(self) -> Courses:
        copy = Courses()
        copy._sums = {course: sums.copy() for course, sums in self._sums.items()}
        return copy


def _merged(first: Floats, second: Floats) -> Floats:
    """Blocks put together pairwise (Chan, Golub and LeVeque 1983, for mean and squares)."""
    a, b = dict(zip(_COLUMNS, first.T)), dict(zip(_COLUMNS, second.T))
    count, rows = a["count"] + b["count"], a["rows"] + b["rows"]
    share = np.divide(b["count"], count, out=np.zeros_like(count), where=count > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.where((a["count"] > 0) & (b["count"] > 0), b["mean"] - a["mean"], 0.0)
        mean = np.where(a["count"] > 0, a["mean"] + share * apart, b["mean"])
        squares = a["squares"] + b["squares"] + apart**2 * share * a["count"]
    return np.stack(
        [
            a["row"],
            rows,
            count,
            mean,
            squares,
            np.minimum(a["low"], b["low"]),
            np.maximum(a["high"], b["high"]),
            (a["lr"] * a["rows"] + b["lr"] * b["rows"]) / rows,
            b["newest"],
        ],
        axis=1,
    )


def to_columns(blocks: Blocks) -> dict[str, Floats]:
    """Blocks as they are written."""
    return {"size": np.array([blocks.size], np.float64), **blocks.columns}


def from_columns(columns: Mapping[str, Any]) -> Blocks:
    """Blocks as they were written. KeyError, ValueError or IndexError where they are not of that form."""
    read = {name: np.asarray(columns[name], np.float64) for name in _COLUMNS}
    if len({column.shape for column in read.values()}) != 1 or read["row"].ndim != 1:
        raise ValueError("columns of different lengths")
    return Blocks(int(columns["size"][0]), read)
