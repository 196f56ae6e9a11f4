"""Signs in the losses, the weights and the gradients that steps are too large for the loss to follow."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.record.record import Array
from gradscope.rules.middle import median
from gradscope.rules.origins import born_of_itself, loss_origin
from gradscope.rules.rising import RiseTest
from gradscope.rules.steps import HEAD, Floats, Steps, windows_mean


@dataclass(frozen=True)
class Trouble:
    """What the losses show: since which of them (an index), how bad, in words, and the numbers behind it.

    A loss below `forgiven` takes it back.
    """

    since: int
    severity: str
    sign: str
    numbers: dict[str, Any]
    forgiven: float
    late: bool = False  # the first steps were good ones, and tell nothing


@dataclass(frozen=True)
class Signs:
    """One method for each sign; `trouble` asks them all. Fields are the thresholds."""

    adaptive_share: float = 0.7
    calm_share: float = 0.5
    bold_share: float = 2.0
    bold_ratio: float = 0.3
    grown: float = 0.03
    above: float = 2.0
    slightly_above: float = 1.2
    far_above: float = 8.0
    beyond: float = 100.0
    early: int = 100
    in_a_row: int = 3
    lasting: int = 16
    growing: float = 1.3
    at_once: int = 5
    driven_ratio: float = 0.1
    driven_fall: float = 0.5
    dead: float = 1e-3
    dead_rows: int = 5
    stuck: float = 0.98
    stuck_rows: int = 50
    stuck_ratio: float = 0.03
    stuck_share: float = 0.3
    fell: float = 0.7
    back: float = 0.9
    guessing: tuple[float, float] = (0.99, 1.06)
    near_guessing: float = 0.9
    healed: float = 0.33
    late_ratio: float = 3e-4

    def trouble(self, steps: Steps) -> Trouble | None:
        """The first of the signs that hold now."""
        if self._goes_well(steps):
            return self._late(steps)
        early = (self._not_finite, self._rose, self._died, self._stuck, self._stalled)
        signs = (*early, self._slow, self._late, self._collapsed)  # a slow rise to the start again is no collapse
        return next((found for found in (sign(steps) for sign in signs) if found is not None), None)

    def _goes_well(self, steps: Steps) -> bool:
        """Whether nothing but a slow rise can be the matter: most runs, most of the time."""
        losses, start = steps.finite, steps.start
        if len(losses) < len(steps.losses) or len(losses) < self.lasting or losses.max() > self.slightly_above * start:
            return False
        now = float(losses[-self.lasting :].mean())
        if self.share(steps) > self.bold_share and now > self.healed * start:
            return False
        return now < self.fell * start and not 0.9 < now / steps.chance < 1.2

    def _suspicion(self, steps: Steps) -> Trouble | None:
        """Info: a step of an adaptive optimizer moves each weight by about lr, and the weights are no larger."""
        share = self.share(steps)
        if share < self.adaptive_share:
            return None
        sign = f"its steps are as large as the weights (rms {steps.rms:.3g}); the loss does not show it yet"
        return Trouble(0, "info", sign, {"lr_by_rms": share}, 0.0)

    @staticmethod
    def share(steps: Steps) -> float:
        """The largest lr so far against the weights' rms, for adaptive optimizers; else 0."""
        return steps.share if steps.adaptive else 0.0

    def _bold(self, steps: Steps) -> bool:
        """Whether steps changed most of weights that were not small to begin with."""
        if steps.adaptive:
            return self.share(steps) > self.bold_share
        return bool(steps.rms > self.grown and steps.ratios(32).max(initial=0.0) > self.bold_ratio)

    def _driven(self, steps: Steps) -> bool:
        """Whether single steps were large against the weights, or should have taken away much of the loss."""
        if steps.adaptive:
            return self.share(steps) > self.adaptive_share
        if steps.ratios(32).max(initial=0.0) > self.driven_ratio:
            return True
        at = dict(zip(steps.rows[: 2 * HEAD].tolist(), steps.losses[: 2 * HEAD].tolist()))
        falls = ((one.descent, max(steps.start, at.get(row, 0.0))) for row, one in steps.geometry.items())
        return any(fall > self.driven_fall * loss for fall, loss in falls)

    def _level(self, steps: Steps) -> float:
        """The loss at the start: of a new model, which guesses, the first one tells; else many must."""
        return steps.start if self._guessed(steps) else steps.level

    def _guessed(self, steps: Steps) -> bool:
        """Whether the first loss is that of a model that knows nothing: then it has little noise."""
        backwards = int(steps.optimizer.scalars["backwards"][0]) if len(steps.optimizer.rows) else 1
        return bool(max(1, backwards) * steps.start > self.near_guessing * steps.chance)  # the loss may be divided

    def _not_finite(self, steps: Steps) -> Trouble | None:
        losses = steps.losses
        finite = np.isfinite(losses)
        if finite.all() or not finite[0]:
            return None
        first = int(np.argmin(finite))
        if finite[first:].any():
            return None
        origin = loss_origin(steps.record, steps.stream, int(steps.rows[first]))
        if origin is not None and origin.kind == "constant":
            return None  # of the batch
        before = losses[:first]
        if born_of_itself(steps.record, steps.stream, int(steps.rows[first])):
            if not (before[-1] > self.far_above * steps.start and self._driven(steps)):
                return None
        elif not self._grew(steps, before) and not self._at_once(steps, first):
            return None  # of itself, as far as is known
        grew = float(before[-1]) > self.slightly_above * steps.start
        after = f"it grew to {float(before[-1]):.4g}" if grew else "steps as large as the weights"
        sign = f"the loss is no number since step {int(steps.rows[first])}, after {after}"
        beyond = np.append(before > self.above * steps.start, True)
        return Trouble(int(np.argmax(beyond)), "error", sign, {"start": steps.start}, self.healed * steps.start)

    def _at_once(self, steps: Steps, first: int) -> bool:
        """Whether the weights were replaced by the first few steps, and the loss was no number then."""
        return steps.adaptive and first <= self.at_once and self.share(steps) > self.bold_share

    def _grew(self, steps: Steps, before: Floats) -> bool:
        """Whether the losses before the first that is no number had grown beyond what was noise until then."""
        if before[-1] > self.slightly_above * steps.start and self._driven(steps):
            return True
        if not before[-1] > self.above * steps.start:
            return False
        newest, earlier = before[-self.in_a_row :], before[: -self.in_a_row]
        if len(earlier) < self.in_a_row or newest.min() > self.above * max(self._level(steps), float(earlier.max())):
            return True
        highest = float(earlier.max())
        grows = newest[-1] > self.above * highest and self._grows(before, len(before) - self.in_a_row)
        return bool(newest[-1] > self.far_above * highest or grows)

    def _rose(self, steps: Steps) -> Trouble | None:
        """The loss rose above its start, by as much as proves it, and has not fallen far since."""
        losses, few, start = steps.finite, self.in_a_row, steps.start
        if len(losses) <= few or not start > 0 or median(losses[-self.lasting :]) < self.healed * start:
            return None
        if not self._driven(steps):
            return self._left(steps)
        first = losses[: self.early]
        if self._guessed(steps):
            three = medians_of_three(first) if steps.adaptive or self._bold(steps) else smallest_of_three(first)
            limit = (self.slightly_above if self._bold(steps) else self.above) * start
        else:  # of one sample the level is not known: only what is out of all proportion counts
            three, limit = smallest_of_three(first), self.beyond * start
            if self._bold(steps) and first.max() > self.beyond**2 * max(start, median(first)):
                return self._risen(steps, int(np.argmax(first)))
            if not self._out_of_proportion(first, np.flatnonzero(three > limit)):
                return self._left(steps)
        if (three > limit).any():
            return self._risen(steps, int(np.argmax(losses > limit)))
        return self._left(steps)

    def _out_of_proportion(self, losses: Floats, at: Array) -> bool:
        """Whether three losses that begin at one of these places are far above those before, not above the first only,
        which may have been a lucky one; of so few before that they tell nothing, whether they grow.
        """
        few = self.in_a_row
        for i in at.tolist():
            three = losses[i : i + few]
            if three.min() > self.far_above * median(losses[:i]) if i >= few else np.diff(three).min() > 0:
                return True
        return False

    def _left(self, steps: Steps) -> Trouble | None:
        """Without large steps to explain it: the loss left all that the noise had shown before, to stay above."""
        losses, limit = steps.finite, self.above * steps.level
        beyond = losses > limit
        newest = beyond[-self.lasting :]
        if len(losses) < 2 * self.lasting or not newest[-self.in_a_row :].all():
            return None
        since = min(len(losses) - int(np.argmin(beyond[::-1])) if not beyond.all() else 0, len(losses) - 1)
        unheard = since >= self.lasting and losses[since:].min() > losses[:since].max()
        calm = steps.adaptive and self.share(steps) < self.calm_share
        if not (newest.mean() > 0.9 or unheard and not calm):
            return None
        return self._risen(steps, since) if self._grows(losses, since) else None

    def _grows(self, losses: Floats, since: int) -> bool:
        """Whether the loss grew there from step to step; where the data change, it makes one jump."""
        growth = losses[max(since - 1, 0) : since + 2 * self.in_a_row]
        growing = growth[1:] > self.growing * growth[:-1]
        return bool((growing[1:] & growing[:-1]).any())

    def _risen(self, steps: Steps, since: int) -> Trouble:
        losses, start = steps.finite, steps.start
        top, now = float(losses[since:].max()), median(losses[-self.in_a_row :])
        sign = f"the loss went from {start:.4g} to {top:.4g}"
        severity = "error" if now > self.far_above * start else "warning"
        return Trouble(since, severity, sign, {"start": start, "top": top, "now": now}, self.healed * start)

    def _died(self, steps: Steps) -> Trouble | None:
        """The gradients have all but vanished after large steps, and nothing was learned."""
        first, newest = steps.paces(1), steps.newest_paces(self.dead_rows)
        bold, losses = float(steps.ratios().max(initial=0.0)), steps.finite
        if len(newest) < self.dead_rows or len(losses) < 2 * self.dead_rows or not len(first):
            return None
        now = float(np.mean(losses[-self.dead_rows :]))
        if bold < self.stuck_ratio or now < self.back * self._level(steps) or not steps.rms > self.grown:
            return None
        if not (newest < self.dead * first[0]).all():
            return None
        sign = f"after steps of {100 * bold:.2g} % of the weights the gradients are all but gone"
        return Trouble(0, "error", sign, {"start": steps.start, "now": now}, self.fell * steps.start)

    def _stuck(self, steps: Steps) -> Trouble | None:
        """The steps are large against the weights, and the loss does not fall."""
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < 2 * window:
            return None
        first = steps.ratios()
        bold = median(first) if len(first) else 0.0
        bold = max(bold, self._newest_ratio(steps))
        if bold < self.stuck_ratio or not steps.rms > self.grown:
            return None  # small weights grow, whatever the lr
        if steps.adaptive and self.share(steps) < self.stuck_share:
            return None
        now = float(losses[-window:].mean())
        level = self._level(steps)
        if now < self.stuck * level or windows_mean(losses, window).min() < self.fell * level:
            return None
        sign = f"with steps of {100 * bold:.2g} % of the weights the loss has not fallen in {len(losses)} steps"
        return Trouble(0, "warning", sign, {"start": steps.start, "now": now, "ratio": bold}, self.back * level)

    def _stalled(self, steps: Steps) -> Trouble | None:
        """After steps as large as the weights the loss lies at chance level."""
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < max(self.stuck_rows, 2 * window) or not self._driven(steps):
            return None
        now, before = float(losses[-window:].mean()), float(losses[-2 * window : -window].mean())
        if not all(self.guessing[0] < mean / steps.chance < self.guessing[1] for mean in (now, before)):
            return None
        sign = f"after steps as large as the weights the loss is {now:.4g}, that of guessing among {steps.classes}"
        return Trouble(0, "warning", sign, {"start": steps.start, "now": now}, self.fell * steps.chance)

    def _slow(self, steps: Steps) -> Trouble | None:
        """A network whose weights were nothing small was thrown far by an adaptive optimizer, and has not come far."""
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < max(self.stuck_rows, 2 * window) or self.share(steps) <= self.bold_share:
            return None
        now = float(losses[-window:].mean())
        if not steps.rms > self.grown or steps.matrices < 3 or now < self.healed * self._level(steps):
            return None
        sign = f"its first steps were {self.share(steps):.2g} times as large as the weights, and after {len(losses)} "
        sign += f"of them the loss is {now:.4g}"
        return Trouble(0, "warning", sign, {"start": steps.start, "now": now}, self.healed * self._level(steps))

    def _collapsed(self, steps: Steps) -> Trouble | None:
        """The loss had fallen, shot up, and is back where it began."""
        if not self._guessed(steps) or steps.adaptive and self.share(steps) < self.stuck_share:
            return None
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < 2 * window:
            return None
        now, level = float(losses[-window:].mean()), self._level(steps)
        if now < self.back * level:
            return None
        means, high = windows_mean(losses, window), medians_of_three(losses)
        lowest = int(np.argmin(means))
        peak = lowest + int(np.argmax(high[lowest:]))
        if means[lowest] > self.fell * level or high[peak] < self.above * level or peak >= len(losses) - window:
            return None
        large = steps.adaptive or self._driven(steps) or high[peak] > self.far_above * level
        if not large and not self._grows(losses, peak):
            return None
        sign = f"the loss had fallen, shot up to {float(high[peak]):.4g} and is back at {now:.4g}"
        numbers = {"start": steps.start, "now": now, "peak": float(high[peak])}
        return Trouble(peak, "warning", sign, numbers, self.healed * level)

    def _late(self, steps: Steps) -> Trouble | None:
        """The loss fell, and now rises slowly at the lr that it fell with: the steps no longer average out."""
        if len(steps.losses) < RiseTest.min_rows:
            return None
        course = int(steps.stream.optimizers[0].scalars["course"][steps.which[-1]])
        blocks, lr = steps.stream.courses[course], steps.lr[-max(1, len(steps.lr) // 2) :]
        means = blocks["mean"][:-4:4]
        if blocks["mean"][-4:].mean() < means.min(initial=np.inf) or lr.max() > 1.05 * lr.min():
            return None
        rise = RiseTest().rise(blocks)
        if rise is None or rise.sudden or self._newest_ratio(steps) < self.late_ratio:
            return None
        since = int(np.searchsorted(steps.rows, rise.since).clip(max=len(steps.rows) - 1))
        sign = f"the loss, {rise.best:.4g} around step {rise.best_at}, has risen to {rise.now:.4g} since"
        numbers = {"best": rise.best, "now": rise.now, "standard_errors": rise.z}
        return Trouble(since, "warning", sign, numbers, (rise.best + rise.now) / 2, True)

    @staticmethod
    def _newest_ratio(steps: Steps) -> float:
        newest = steps.newest_ratios(5)
        return median(newest) if len(newest) else 0.0


def medians_of_three(losses: Floats) -> Floats:
    """Of each loss and the two before it # (losses - 2,)."""
    first, second, third = losses[:-2], losses[1:-1], losses[2:]
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.asarray(np.maximum(low, np.minimum(high, third)))


def smallest_of_three(losses: Floats) -> Floats:
    return np.asarray(np.minimum(np.minimum(losses[:-2], losses[1:-1]), losses[2:]))
