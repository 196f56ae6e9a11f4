"""GS106 parameter-not-updated."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import Point
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import Array, OptimizerRecord, Record
from gradscope.rules.advice import damped
from gradscope.rules.base import Rule
from gradscope.rules.middle import median

_EPSILON = float(np.finfo(np.float32).eps)
_DTYPES = ("float32", "float64", "complex64", "complex128")  # of lower precision: a lost update, GS701
_TORCHS_OWN = frozenset(
    "Adadelta Adafactor Adagrad Adam AdamW Adamax ASGD Muon NAdam RAdam RMSprop Rprop SGD SparseAdam".split()
)


@dataclass(frozen=True)
class ParameterNotUpdated(Rule):
    """step() runs, with a gradient and a learning rate, and the parameter stays as it was to the bit.

    What it finds
        Parameters whose every measured step left each bit where it was, although the gradient times the learning rate
        was far above the spacing of the weights' own numbers, and that nothing else changes either.
    Why it matters
        That part of the model stays as it was initialised, and nothing complains: gradients are there, norms look
        healthy. The classic is a hand-written optimizer that makes a new tensor instead of writing into the old one.
    Sick
        for p in group["params"]:
            p = p - group["lr"] * p.grad
    Healed
        for p in group["params"]:
            p.sub_(group["lr"] * p.grad)  # under torch.no_grad()
    What to do
        Write in place in `step()`; where only some parameters stand still, look there for the mask, the early exit or
        the restored copy that holds them.
    Silent on
        A learning rate of 0 (a warm-up's first steps); no gradient, a zero one, one that is not finite; steps that
        GradScaler skips; updates below the spacing of the weights (a parameter that has converged or saturated);
        weights in bfloat16 or float16; weights that something else moves, or that moved in any measured step; LBFGS,
        whose line search may find no step; parameters shrunk to zero by a proximal step.
    Known at
        20 measured steps, or 5 at the end of the run; where other parameters of the optimizer move, 100 steps or the
        end of the run. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/autograd.html#in-place-operations-with-autograd
    """

    code = "GS106"
    name = "parameter-not-updated"
    severity = "warning"
    needs = ("norms",)
    message = "{names} did not change in any of {steps} steps with a gradient and lr {lr}: {why}"
    explains = ("GS204", "GS302")

    rows: int = 20
    rows_at_the_end: int = 5
    rows_beside_others: int = 100
    margin: float = 100.0  # times the spacing that an update must reach to count as one that should be seen

    def check(self, record: Record) -> Iterator[Finding]:
        for optimizer in record.optimizers:
            if "LBFGS" in optimizer.kind or not len(optimizer.measured) or not optimizer.parameters:
                continue
            if damped(record, optimizer):
                continue  # by an eps that leaves nothing of its steps: GS302's
            moved = (optimizer.arrays["update_norm"] > 0).any(axis=0)
            if moved.all():
                continue
            moved |= _drifts(optimizer)
            due = self._due(optimizer)
            enough = due.sum(axis=0) >= (self.rows_at_the_end if record.meta.ended else self.rows)
            held = enough & ~moved & np.array([p.dtype in _DTYPES for p in optimizer.parameters], np.bool_)
            if moved.any():
                late = record.meta.ended or len(optimizer.rows) >= self.rows_beside_others
                held &= late & self._beside(optimizer, due, moved)
            if held.any() and not (moved.any() and _whole_groups(optimizer, held)):
                yield self._finding(record, optimizer, held, due, bool(moved.any()))

    def _due(self, optimizer: OptimizerRecord) -> Array:
        """# (measured, params) Where a change must have been seen.

        With u = lr * g, some element has |u_i| / |w_i| >= |u| / |w|, and changes if that is above the spacing. Adaptive
        optimizers step by about lr whatever the gradient, or by less: so both lr and lr * g must be large enough.
        """
        lr = _lr(optimizer)
        norm = optimizer.grad_norm(Point.BEFORE_STEP).astype(np.float64)
        weight = optimizer.arrays["weight_norm"].astype(np.float64)
        spacing = self.margin * _EPSILON * weight
        least = 1e-15  # what float32 squares can still tell from zero, with room
        with np.errstate(invalid="ignore"):
            seen = (optimizer.arrays["update_norm"] == 0) & np.isfinite(norm) & np.isfinite(weight)
            return np.asarray(
                seen & (lr * norm > spacing + least) & (lr > spacing / _root_sizes(optimizer) + least)
            )

    def _beside(self, optimizer: OptimizerRecord, due: Array, moved: Array) -> Array:
        """# (params,) Those that would move too, did their step have the scale that it has for the ones that move."""
        steps = np.abs(_lr(optimizer) * optimizer.grad_norm(Point.BEFORE_STEP))
        updates = optimizer.arrays["update_norm"].astype(np.float64)
        weight = optimizer.arrays["weight_norm"].astype(np.float64)
        known = (updates > 0) & (steps > 0) & np.isfinite(steps)
        if not known.any():
            return np.zeros(len(moved), np.bool_)
        scale = min(1.0, float((updates[known] / steps[known]).min()))
        typical = float((updates / _root_sizes(optimizer))[known].min())
        spacing = self.margin * _EPSILON * weight
        with np.errstate(invalid="ignore"):
            clear = (scale * steps > spacing) & (typical > spacing / _root_sizes(optimizer)) & (weight > 0)
        several = np.array([math.prod(p.shape) > 1 for p in optimizer.parameters], np.bool_)
        return np.asarray(several & (clear | ~due).all(axis=0))

    def _finding(
        self, record: Record, optimizer: OptimizerRecord, held: Array, due: Array, others: bool
    ) -> Finding:
        names, kind = optimizer.names(held), optimizer.kind
        rows = optimizer.measured[due[:, held].any(axis=1)]
        rates = _lr(optimizer)[:, held][due[:, held]]
        everything = len(names) == len(optimizer.parameters)
        if kind in _TORCHS_OWN:
            why = "something puts the old values back before the step is over"
            cure = f"look for a hook or a wrapper around {optimizer.variable}.step() that restores the weights"
        elif others:
            these = "this one" if len(names) == 1 else "these"
            why = f"the step of {kind} moves the other parameters, and passes over {these}"
            cure = f"look in {kind}.step() for the mask, the early exit or the restored copy that holds them"
        else:
            why = f"the step of {kind} writes into none of its parameters"
            cure = f"in {kind}.step(), write in place, under torch.no_grad(): p.sub_(lr * grad), not p = p - lr * grad"
        return self.finding(
            (int(rows[0]), int(optimizer.rows[-1])),
            evidence={
                "names": "every parameter of the optimizer" if everything else list_names(names),
                "steps": int(due[:, held].sum(axis=0).min()),
                "lr": median(rates),
                "why": why,
                "count": len(names),
                "grad_norm": float(np.nanmedian(optimizer.grad_norm(Point.BEFORE_STEP)[:, held])),
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            where=record.site(int(optimizer.scalars["step_site"][-1])),
            label="runs, and they stay as they are" if len(names) > 1 else "runs, and it stays as it is",
            advice=(Advice(cure),),
        )


def _whole_groups(optimizer: OptimizerRecord, held: Array) -> bool:
    """Whether the step passes over whole groups, and nothing else: it was told to (a flag of the group)."""
    groups = np.array([p.group for p in optimizer.parameters])
    return not np.isin(groups[~held], groups[held]).any()


def _lr(optimizer: OptimizerRecord) -> Array:
    """# (measured, params) NaN where the row's scalars are no longer kept."""
    rows, measured = optimizer.rows, optimizer.measured
    at = np.clip(np.searchsorted(rows, measured), 0, max(0, len(rows) - 1))
    groups = [p.group for p in optimizer.parameters]
    return np.where((rows[at] == measured)[:, None], optimizer.lr[at][:, groups], np.nan)


def _root_sizes(optimizer: OptimizerRecord) -> Array:
    """# (params,) From an L2 norm to the root mean square: divide by this."""
    return np.sqrt([max(1, math.prod(p.shape)) for p in optimizer.parameters])


def _drifts(optimizer: OptimizerRecord) -> Array:
    """# (params,) Whose weight norm is not the same in all measured rows: something else moves them."""
    weights = optimizer.arrays["weight_norm"]
    known = np.isfinite(weights)
    low = np.where(known, weights, np.inf).min(axis=0)
    return np.asarray(known.any(axis=0) & (np.where(known, weights, -np.inf).max(axis=0) > low))
