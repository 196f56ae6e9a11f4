"""From a finished ledger row to what the record keeps: wiring bits, losses, counters, columns."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from gradscope.events import Point
from gradscope.record.record import Parameter, Wiring
from gradscope.record.table import OptimizerTable
from gradscope.recording.ledger import Bools, Contribution, Floats, Row
from gradscope.recording.stats import Norms, Scale

_NO_LOSS = int(Wiring.NO_LOSS)


@dataclass(slots=True)
class StepNotes:
    """What is known of a step when it ends, before its numbers have arrived."""

    row: int
    measured: bool
    lr: list[float]
    loss_scale: Scale
    seen: int
    reached: int
    trainable: list[bool] | None  # None: all
    columns: tuple[Parameter, ...]
    sites: tuple[int, int, int]
    weights: Norms | None = None
    updates: Norms | None = None


@dataclass(slots=True)
class FullRow:
    """One row of one optimizer, seen in full."""

    row: Row
    notes: StepNotes

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.notes.columns

    @property
    def groups(self) -> int:
        return len(self.notes.lr)

    def backwards(self) -> list[tuple[int, Sequence[Contribution]]]:
        """Row numbers, and the backwards whose gradients the steps used."""
        return [(self.notes.row, self.row.contributions)]

    def scalars(self, joint: Mapping[int, float] | None) -> list[tuple[Any, ...]]:
        """The scalars, in the order of `scalar_columns`. `joint`: the joint loss of each row; None: as the loss."""
        row, notes = self.row, self.notes
        loss = loss_of(row.contributions)
        norm = _total(row.norms[Point.BEFORE_STEP], row.missing) if notes.measured else np.nan
        wiring = int(wiring_of(row, notes))
        both, course = loss if joint is None else joint[notes.row], _course(row.contributions)
        scale = notes.loss_scale.value
        return [(notes.row, loss, both, course, scale, notes.reached, wiring, *notes.sites, norm, notes.lr)]

    def arrays(self) -> dict[str, Any] | None:
        """The per-parameter arrays, where it was measured."""
        row, notes = self.row, self.notes
        if not notes.measured:
            return None
        nothing = np.full(len(row.missing), np.nan, np.float32)
        return {
            "row": notes.row,
            "state": row.states,
            "norm": row.norms,
            "weight_norm": nothing if notes.weights is None else notes.weights.read(),
            "update_norm": nothing if notes.updates is None else notes.updates.read(),
        }

    def count(self, table: OptimizerTable) -> None:
        """Bring the counters, which see every row, up to date."""
        row, counters, trainable = self.row, table.counters, _trainable(self.row.missing, self.notes.trainable)
        counters["steps"] += trainable
        counters["missing"] += row.missing & trainable
        counters["reached"] += row.reached
        counters["cleared"] += row.cleared
        if row.old_inside.any():
            counters["old"] += row.old_inside
            counters["old_first"][row.old_inside & (counters["old_first"] < 0)] = self.notes.row
            counters["old_last"][row.old_inside] = self.notes.row


class PlainRow(NamedTuple):
    """One row as it should be: its number, its backwards, and what was set in it."""

    row: int
    contributions: tuple[Contribution, ...]
    lr: list[float]
    loss_scale: Scale
    sites: tuple[int, int, int]


@dataclass(slots=True)
class PlainRows:
    """Rows of one optimizer that are as they should be, and not measured: every gradient was None before backward, and
    what backward made was there at the step. `missing`: where backward makes none; None: nowhere.
    """

    rows: list[PlainRow]
    parameters: tuple[Parameter, ...]
    missing: Bools | None = None
    trainable: Sequence[bool] | None = None  # None: all

    @property
    def groups(self) -> int:
        return len(self.rows[0].lr)

    def backwards(self) -> list[tuple[int, Sequence[Contribution]]]:
        return [(row.row, row.contributions) for row in self.rows]

    def scalars(self, joint: Mapping[int, float] | None) -> list[tuple[Any, ...]]:
        wiring, nan = 0, float("nan")
        if self.missing is not None and (self.missing & _trainable(self.missing, self.trainable)).any():
            wiring = int(Wiring.SOME_MISSING)
        scalars: list[tuple[Any, ...]] = []
        for row, contributions, lr, scale, sites in self.rows:
            loss, course = loss_of(contributions), _course(contributions)
            both, bits = loss if joint is None else joint[row], wiring if course >= 0 else wiring | _NO_LOSS
            scalars.append((row, loss, both, course, scale.value, len(contributions), bits, *sites, nan, lr))
        return scalars

    def arrays(self) -> None:
        return None

    def count(self, table: OptimizerTable) -> None:
        counters, count = table.counters, len(self.rows)
        if self.missing is None:
            counters["steps"] += count
            counters["reached"] += count
        else:
            trainable = _trainable(self.missing, self.trainable)
            counters["steps"] += count * trainable
            counters["missing"] += count * (self.missing & trainable)
            counters["reached"] += count * ~self.missing


def wiring_of(row: Row, notes: StepNotes) -> Wiring:
    """What was true of the step as a whole."""
    trainable = _trainable(row.missing, notes.trainable)
    missing = row.missing & trainable
    wiring = Wiring(0)
    if trainable.any() and missing[trainable].all():
        wiring |= Wiring.ALL_MISSING
    elif missing.any():
        wiring |= Wiring.SOME_MISSING
    if row.old_inside.any():
        wiring |= Wiring.OLD_INSIDE
    gone = missing | row.zero
    if row.cleared.any() and gone[trainable].all():
        wiring |= Wiring.CLEARED
    if notes.seen == 0:
        wiring |= Wiring.NO_BACKWARD
    elif notes.reached == 0:
        wiring |= Wiring.UNREACHED
    if notes.measured:
        wiring |= Wiring.STATISTICS
    if not any(c.scalar for c in row.contributions):
        wiring |= Wiring.NO_LOSS
    return wiring


def loss_of(contributions: Sequence[Contribution]) -> float:
    """The loss of a row: per call site the mean, then the sum over the sites; NaN where there is none.

    What was divided, as several make a step, is multiplied by as much again.
    """
    if len(contributions) == 1 and contributions[0].division is None:
        return contributions[0].loss if contributions[0].scalar else float("nan")
    sites: dict[int, list[Contribution]] = {}
    for contribution in (c for c in contributions if c.scalar):
        sites.setdefault(contribution.site, []).append(contribution)
    return sum(map(_mean, sites.values())) if sites else float("nan")


def _mean(parts: Sequence[Contribution]) -> float:
    """Of the losses from one line, as they were before they were divided."""
    factors = (1 if part.division is None else part.division.factor(len(parts)) for part in parts)
    return sum(part.loss * factor for part, factor in zip(parts, factors)) / len(parts)


def _total(norms: Floats, missing: Bools) -> float:
    present = norms[~missing].astype(np.float64)
    return float(np.sqrt(np.sum(present * present)))


def _course(contributions: Sequence[Contribution]) -> int:
    for contribution in reversed(contributions):
        if contribution.scalar:
            return contribution.course
    return -1


def _trainable(missing: Bools, trainable: Sequence[bool] | None) -> Bools:
    """# (params,) What is trainable (None: all), or has a gradient all the same."""
    if trainable is None:
        return np.ones(len(missing), np.bool_)
    return np.array(trainable, np.bool_) | ~missing
