"""From a finished ledger row to what the record keeps: wiring bits, losses, counters, columns."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from gradscope.events import Point
from gradscope.record.record import Parameter, Wiring
from gradscope.record.table import OptimizerTable
from gradscope.recording.ledger import Bools, Contribution, Floats, Row
from gradscope.recording.stats import Norms


@dataclass(slots=True)
class StepNotes:
    """What is known of a step when it ends, before its numbers have arrived."""

    row: int
    measured: bool
    lr: list[float]
    loss_scale: float
    seen: int
    reached: int
    trainable: list[bool] | None  # None: all
    columns: tuple[Parameter, ...]
    sites: tuple[int, int, int]
    weights: Norms | None = None
    updates: Norms | None = None


def columns_of(
    row: Row, notes: StepNotes, joint: Sequence[Contribution]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The row's scalars, and its per-parameter arrays where it was measured."""
    scalars = {
        "row": notes.row,
        "loss": loss_of(row.contributions),
        "joint_loss": loss_of(joint),
        "course": next((c.course for c in reversed(row.contributions) if c.scalar), -1),
        "loss_scale": notes.loss_scale,
        "backwards": notes.reached,
        "wiring": int(wiring_of(row, notes)),
        "zero_grad_site": notes.sites[0],
        "backward_site": notes.sites[1],
        "step_site": notes.sites[2],
        "grad_norm": _total(row.norms[Point.BEFORE_STEP], row.missing) if notes.measured else np.nan,
        "lr": notes.lr,
    }
    if not notes.measured:
        return scalars, None
    nothing = np.full(len(row.missing), np.nan, np.float32)
    return scalars, {
        "row": notes.row,
        "state": row.states,
        "norm": row.norms,
        "weight_norm": nothing if notes.weights is None else notes.weights.read(),
        "update_norm": nothing if notes.updates is None else notes.updates.read(),
    }


def plain_scalars(notes: StepNotes, contribution: Contribution) -> dict[str, Any]:
    """The scalars of a row that is as it should be, and that was not measured."""
    loss = contribution.loss if contribution.scalar else np.nan
    return {
        "row": notes.row,
        "loss": loss,
        "joint_loss": loss,
        "course": contribution.course if contribution.scalar else -1,
        "loss_scale": notes.loss_scale,
        "backwards": 1,
        "wiring": 0 if contribution.scalar else int(Wiring.NO_LOSS),
        "zero_grad_site": notes.sites[0],
        "backward_site": notes.sites[1],
        "step_site": notes.sites[2],
        "grad_norm": np.nan,
        "lr": notes.lr,
    }


def wiring_of(row: Row, notes: StepNotes) -> Wiring:
    """What was true of the step as a whole."""
    trainable = _trainable(row, notes)
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


def count(table: OptimizerTable, row: Row, notes: StepNotes) -> None:
    """Bring the counters, which see every row, up to date."""
    counters, trainable = table.counters, _trainable(row, notes)
    counters["steps"] += trainable
    counters["missing"] += row.missing & trainable
    counters["reached"] += row.reached
    counters["cleared"] += row.cleared
    if row.old_inside.any():
        counters["old"] += row.old_inside
        counters["old_first"][row.old_inside & (counters["old_first"] < 0)] = notes.row
        counters["old_last"][row.old_inside] = notes.row


def loss_of(contributions: Sequence[Contribution]) -> float:
    """The loss of a row: per call site the mean, then the sum over the sites; NaN where there is none."""
    sites: dict[int, list[float]] = {}
    for contribution in (c for c in contributions if c.scalar):
        sites.setdefault(contribution.site, []).append(contribution.loss)
    return sum(sum(losses) / len(losses) for losses in sites.values()) if sites else float("nan")


def _total(norms: Floats, missing: Bools) -> float:
    present = norms[~missing].astype(np.float64)
    return float(np.sqrt(np.sum(present * present)))


def _trainable(row: Row, notes: StepNotes) -> Bools:
    if notes.trainable is None:
        return np.ones(len(row.missing), np.bool_)
    return np.array(notes.trainable, np.bool_) | ~row.missing
