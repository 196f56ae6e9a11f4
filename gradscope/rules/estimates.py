"""An lr that works, from what the first steps were like."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.rules.advice import nearest_1_3_10, peaks
from gradscope.rules.middle import median
from gradscope.rules.steps import Steps


@dataclass(frozen=True)
class Estimates:
    """Estimates of an lr, and the middle one of them."""

    share_advised: float = 0.1
    ratio_advised: float = 0.004
    soon: int = 3
    late: int = 20
    cap: float = 0.35
    doubled: float = 2.0

    def advised(self, steps: Steps) -> tuple[float, dict[str, float]]:
        """An lr for the largest group, and the estimates that it comes from."""
        largest = max(peaks(steps.record, steps.optimizer))
        if steps.adaptive and steps.share > 0:
            estimates = {"tenth_of_weights": self.share_advised * float(steps.lr.max()) / steps.share}
        else:
            estimates = self._estimates(steps, largest)
        middle = 10 ** float(np.median(np.log10(list(estimates.values()))))
        return nearest_1_3_10(min(middle, self.cap * largest)), estimates

    def _estimates(self, steps: Steps, lr: float) -> dict[str, float]:
        """Of an lr for optimizers that follow the gradient; none above the one that has failed.

        `tenth`; `time`: the sooner the loss had doubled, the lower; `weights`: the steps until then would have been
        `ratio_advised` of the weights; `secant`: 2 (1 - momentum) / sharpness, where that is how much the gradient
        changed along the first steps.
        """
        doubled = steps.finite > self.doubled * steps.start
        when = int(np.argmax(doubled)) if doubled.any() else self.late
        estimates = {"tenth": lr / 10, "time": lr / (3 if when >= self.late else 10 if when > self.soon else 30)}
        paces = steps.paces(min(10, max(1, when)))
        if len(paces) and median(paces) > 0:
            estimates["weights"] = self.ratio_advised / median(paces)
        geometry = [steps.geometry[row] for row in sorted(steps.geometry)]
        pairs = zip(geometry, geometry[1:6])
        bends = [b.change / a.update for a, b in pairs if a.update > 0 and np.isfinite(b.change)]
        if bends and 0 < max(bends) < np.inf:
            estimates["secant"] = max(2 * (1 - steps.momentum) / max(bends), lr / 100)
        return {name: min(value, lr) for name, value in estimates.items() if 0 < value < np.inf}
