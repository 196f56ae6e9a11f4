"""What class labels, seen row by row, add up to."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradscope.facts.labels import LabelCounts, LabelOrder
from gradscope.hooks.labels import Place
from gradscope.probes.label_fit import Fit

_ROWS = 512  # by which the order is judged: later on, whole epochs lie between two looks
_SAMPLES = 8  # rows of fewer are taken together
_BLOCKS = 48
_LABELS = 16  # told of


class _Counts(NamedTuple):
    """How often each label is there; both # (different labels,)."""

    labels: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray) -> _Counts:
        return cls(*(part.astype(np.int32) for part in np.unique(labels, return_counts=True)))


@dataclass(frozen=True)
class _Row:
    number: int
    given: _Counts
    predicted: _Counts
    hit: _Counts
    loss: float  # the sum
    first: int
    last: int


class Tally:
    """Of one optimizer; a row may have several backwards, one after the other."""

    def __init__(self) -> None:
        self._parts: list[_Row] = []
        self.fits: list[Fit] = []
        self._order: LabelOrder | None = None

    def add(self, row: int, true: np.ndarray, predicted: np.ndarray, loss: np.ndarray) -> None:
        """Take in the labels # (labels,) of a backward of this row; those below 0 are left out."""
        known = true >= 0
        labels, guesses = np.rint(true[known]).astype(int), np.rint(predicted[known]).astype(int)
        if len(labels):
            given, guessed, hit = map(_Counts.of, (labels, guesses, labels[labels == guesses]))
            cost = float(loss[known].sum())
            self._parts.append(_Row(row, given, guessed, hit, cost, int(labels[0]), int(labels[-1])))

    def counts(self, row: int, optimizer: int, at: Place) -> LabelCounts | None:
        """Of all rows, and of those of the newer half of the run."""
        if not self._parts:
            return None
        late = [one for one in self._parts if one.number >= row // 2]
        counts = _sum(one.given for one in self._parts)
        given, predicted, hit = (
            _sum(part)
            for part in ([one.given for one in late], [one.predicted for one in late], [one.hit for one in late])
        )
        labels = tuple(label for label, _ in counts.most_common(_LABELS))
        samples = max(1, given.total())
        return LabelCounts(
            row=row,
            optimizer=optimizer,
            function=at.function,
            of=at.classes,
            looks=len({one.number for one in self._parts}),
            samples=counts.total(),
            labels=labels,
            counts=tuple(counts[label] for label in labels),
            since=late[0].number if late else row,
            late=given.total(),
            given=tuple(given[label] for label in labels),
            predicted=tuple(predicted[label] for label in labels),
            hit=tuple(hit[label] for label in labels),
            loss=sum(one.loss for one in late) / samples,
            entropy=_entropy(given),
            weighted=at.weighted,
            dense=at.dense,
            ids=at.ids,
        )

    def order(self, row: int, optimizer: int) -> LabelOrder | None:
        """None as long as there are too few."""
        if self._order is None or self._order.looks < _ROWS:
            self._order = _order(_rows(self._parts)[:_ROWS], row, optimizer)
        return self._order


@dataclass
class _Whole:
    """All labels of a row."""

    number: int
    counts: Counter[int]
    first: int
    last: int


def _order(rows: Sequence[_Whole], row: int, optimizer: int) -> LabelOrder | None:
    counts = _sum(one.counts for one in rows)
    pooled = counts.total()
    if len(rows) < 2 or len(counts) < 2:
        return None
    shares = np.array(list(counts.values())) / pooled
    alike, cubes = float((shares**2).sum()), float((shares**3).sum())
    pairs = found = triples = 0.0
    for group in _groups(rows):
        size = group.total()
        pairs += size * (size - 1) / 2
        triples += size * (size - 1) * (size - 2)
        found += sum(n * (n - 1) / 2 for n in group.values())
    if not pairs:
        return None
    spread = pairs * alike * (1 - alike) + triples * max(0.0, cubes - alike**2)
    joints = [a.last == b.first for a, b in zip(rows, rows[1:]) if b.number == a.number + 1]
    blocks = _blocks(rows)
    return LabelOrder(
        row=row,
        optimizer=optimizer,
        looks=len(rows),
        samples=pooled,
        entropy=_entropy(counts),
        within=(found / pairs - alike) / (1 - alike),
        sigmas=(found - pairs * alike) / math.sqrt(spread),
        joined=(sum(joints) / len(joints) - alike) / (1 - alike) if joints else 0.0,
        pairs=len(joints),
        classes=tuple(block[0] for block in blocks),
        since=tuple(block[1] for block in blocks),
        firsts=tuple(block[2] for block in blocks),
        lasts=tuple(block[3] for block in blocks),
    )


def _rows(parts: Iterable[_Row]) -> list[_Whole]:
    found: list[_Whole] = []
    for part in parts:
        counts = _sum([part.given])
        if found and found[-1].number == part.number:
            found[-1].counts += counts
            found[-1].last = part.last
        else:
            found.append(_Whole(part.number, counts, part.first, part.last))
    return found


def _groups(rows: Sequence[_Whole]) -> list[Counter[int]]:
    """The labels of each row, or of as many following ones as make `_SAMPLES`."""
    groups: list[Counter[int]] = []
    size = _SAMPLES
    for row in rows:
        if size >= _SAMPLES:
            groups.append(Counter())
            size = 0
        groups[-1] += row.counts
        size += row.counts.total()
    return groups


def _blocks(rows: Sequence[_Whole]) -> list[tuple[int, int, int, int]]:
    """Class, the row looked at before, the first and the last row, of rows most of whose labels are of one class."""
    blocks: list[tuple[int, int, int, int]] = []
    before = -1
    for row in rows:
        label = row.counts.most_common(1)[0][0]
        if blocks and blocks[-1][0] == label:
            blocks[-1] = (*blocks[-1][:3], row.number)
        elif len(blocks) == _BLOCKS:
            break
        else:
            blocks.append((label, before + 1, row.number, row.number))
        before = row.number
    return blocks


def _sum(counts: Iterable[_Counts | Counter[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for one in counts:
        if isinstance(one, Counter):
            total.update(one)
        else:
            total.update(dict(zip(one.labels.tolist(), one.counts.tolist())))
    return total


def _entropy(counts: Counter[int]) -> float:
    """In nats."""
    shares = np.array([n for n in counts.values() if n]) / max(1, counts.total())
    return float(-(shares * np.log(shares)).sum()) if len(shares) else 0.0
