"""Gradients that are so large from the start that no learning rate would do."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.record import OptimizerRecord
from gradscope.rules.norms import Norms
from gradscope.rules.steps import Steps


@dataclass(frozen=True)
class Hopeless:
    """What makes them so: see the fields, which are thresholds of the rules that inherit them."""

    of_weights: float = 1e3
    step_of_weights: float = 10.0
    first_steps: int = 4
    within: int = 8  # rows
    exploded: float = 1e3
    too_high: float = 1e3

    def hopeless(self, steps: Steps, measured: Norms) -> int | None:
        """Index of the measured row, one of the `first_steps`, with such a gradient; None: there is none.

        It is `of_weights` times as large as all weights together, and so were those before it (no step has made it so);
        the step with it is `step_of_weights` times as large, which a warm-up may put off; and within a few rows the
        loss is no number any more or `exploded` times what it was, and has not come back since. Where the curvature
        along the first steps is that of an lr that is less than `too_high` times too high, it is the lr (huge inputs).
        """
        stream, optimizer = steps.stream, steps.optimizer
        weights = total(optimizer, "weight_norm")
        for at in range(min(self.first_steps, len(measured.used))):
            row = int(np.searchsorted(stream.rows, measured.rows[at]))
            own = int(np.searchsorted(optimizer.rows, measured.rows[at]))
            if row >= min(self.first_steps, len(stream.rows)) or own >= len(optimizer.lr):
                break
            against, lr = float(measured.used[at] / weights[at]), float(optimizer.lr[own].max(initial=0.0))
            if not against >= self.of_weights or not np.isfinite(stream.loss[row]):
                break
            step = float(total(optimizer, "update_norm")[at] / weights[at])
            if min(step, lr * against) >= self.step_of_weights and self._explodes(stream.loss[row:]):
                return None if self._by_lr(steps, lr) else at
        return None

    def _by_lr(self, steps: Steps, lr: float) -> bool:
        geometry = [steps.geometry[row] for row in sorted(steps.geometry)][:6]
        pairs = [(a, b) for a, b in zip(geometry, geometry[1:]) if a.update > 0 and np.isfinite(b.change)]
        sharpness = max((b.change / a.update for a, b in pairs), default=0.0)
        return bool(0 < sharpness * lr < 2 * self.too_high)

    def _explodes(self, losses: np.ndarray) -> bool:
        """Whether they leave the first one's scale soon, and for good."""
        later = losses[1 : 1 + self.within]
        gone = ~np.isfinite(later) | (later > self.exploded * abs(losses[0]))
        newest = losses[-3:] if len(losses) > 3 else losses[1:]
        return bool(gone.sum() >= 2 and not (newest <= abs(losses[0])).any())


def total(optimizer: OptimizerRecord, name: str) -> np.ndarray:
    """# (measured,) The norm of all parameters together; NaN where there is none, or it is not known."""
    norms = optimizer.arrays[name].astype(np.float64)
    known = np.isfinite(norms).any(axis=1)
    with np.errstate(over="ignore"):
        whole = np.sqrt(np.square(np.nan_to_num(norms, posinf=0.0)).sum(axis=1))
    return np.where(known & (whole > 0), whole, np.nan)
