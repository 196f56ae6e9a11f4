"""What the newest measured rows tell of gradients and steps."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.events import Point
from gradscope.record.record import Array, OptimizerRecord
from gradscope.rules.middle import median, medians

_NEWEST = 64  # measured rows


@dataclass(frozen=True)
class Gradients:
    """What the newest measured rows tell of the steps.

    `norm`: the median of the total norm; `dead`: weights with a gradient of exactly 0 in nine of ten of these rows,
    where most have (`most_dead`; `all_dead`: every one); `first`: the first weight's gradient against the last one's,
    each relative to its weights; `step`: the median update relative to the weights; `path`: all of them, summed.
    """

    norm: float
    dead: tuple[str, ...]
    most_dead: bool
    all_dead: bool
    first: float
    step: float
    path: float


def look(optimizers: tuple[OptimizerRecord, ...]) -> Gradients:
    """At the newest measured rows of the optimizers that step together (the first one's rows)."""
    norms, weights, updates = [], [], []
    names: list[str] = []
    for optimizer in optimizers:
        matrix = np.array([len(p.shape) >= 2 for p in optimizer.parameters], np.bool_)
        norms.append(_newest(optimizer, optimizer.grad_norm(Point.BEFORE_STEP))[:, matrix])
        weights.append(_newest(optimizer, optimizer.arrays["weight_norm"])[:, matrix])
        updates.append(optimizer.arrays["update_norm"][:, matrix])
        names += optimizer.names(matrix)
    rows = min(map(len, norms), default=0)
    norm = np.concatenate([n[len(n) - rows :] for n in norms], axis=1) if norms else np.zeros((0, 0))
    weight = np.concatenate([w[len(w) - rows :] for w in weights], axis=1) if weights else np.zeros((0, 0))
    if rows < 4 or not norm.shape[1]:
        return Gradients(math.nan, (), False, False, math.nan, math.nan, math.nan)
    there = np.isfinite(norm).any(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = float(np.median(np.sqrt(np.nansum(norm**2, axis=1))))
        dead = there & ((np.nan_to_num(norm) == 0).mean(axis=0) >= 0.9)  # a single sample may still pass
        relative = np.where(weight > 0, norm / weight, np.nan)
        flows = [median(c[c > 0]) for c in relative.T[there & ~dead] if (c > 0).any()]
        measured = min(map(len, updates))
        steps = np.concatenate([u[:measured] for u in updates], axis=1)
        sizes = steps / np.where(weight[-1] > 0, weight[-1], np.nan)
        sizes = sizes[np.isfinite(sizes).any(axis=1)]
        step = median(medians(sizes)) if len(sizes) else math.nan
    first = flows[0] / flows[-1] if len(flows) > 1 and flows[-1] > 0 else math.nan
    most_dead = dead.sum() > 0 and dead.sum() >= there.sum() / 2
    return Gradients(
        total,
        tuple(name for name, hit in zip(names, dead) if hit) if most_dead else (),
        bool(most_dead),
        bool(dead.sum() > 0 and dead.sum() == there.sum()),
        first,
        step,
        step * len(optimizers[0].rows),
    )


def _newest(optimizer: OptimizerRecord, values: Array) -> Array:
    return np.asarray(values[-_NEWEST:], np.float64)
