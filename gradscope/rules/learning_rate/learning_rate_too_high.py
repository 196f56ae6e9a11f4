"""GS301 learning-rate-too-high."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator

import numpy as np

from gradscope.findings import Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.advice import change_lr, decade_down, nearest_1_3_10, peaks, settings
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.rising import RiseTest
from gradscope.rules.steps import Floats, Steps, classes


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
class LearningRateTooHigh(Rule):
    """The steps are larger than the loss can follow.

    What it finds
        A loss that rose above its start (`above` times over three losses; less where steps were as large as the
        weights, more where they were small), that is no number any more after it grew, that stays at its start or at
        chance level under large steps, that fell and is back, or that rises slowly at the lr it fell with; gradients
        that are all but gone after large steps. As info, from the first step on: an adaptive optimizer's lr as large
        as the weights (it moves each weight by about lr at each step).
    Why it matters
        Nothing is learned, or what is learned is thrown away. An lr a few times lower often trains at once.
    Sick
        optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    Healed
        optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    What to do
        Set the lr that is named (of a schedule: its peak). For adaptive optimizers it is `share_advised` of the
        weights' rms; else the middle one of four estimates: a tenth; a third to a thirtieth, by how soon the loss had
        doubled; steps of `ratio_advised` of the weights; 2 (1 - momentum) / sharpness of the first steps. After a late
        rise, a tenth.
    Silent on
        A loss that came down to `healed` of its start after all; noise of single batches; a jump without large steps
        (data); a large lr without harm (clipping, embeddings, prompts); maximize=True; losses that may rise.
    Known at
        Three losses after the first step; stuck, after `stuck_rows` steps, later under noise. Thresholds: {thresholds}.
    References
        Stability of gradient descent below 2 / sharpness: Cohen et al., Gradient descent on neural networks typically
        occurs at the edge of stability (2021). Thresholds: `benchmarks/learning_rate.py`, the tuning part.
    """

    code = "GS301"
    name = "learning-rate-too-high"
    severity = "warning"
    message = "lr {lr} is too high: {sign}"
    explains = ("GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS401", "GS402", "GS404", "GS501", "GS502")

    adaptive_share: float = 0.7
    calm_share: float = 0.5
    bold_share: float = 2.0
    bold_ratio: float = 0.3
    above: float = 2.0
    slightly_above: float = 1.2
    far_above: float = 8.0
    in_a_row: int = 3
    lasting: int = 16
    growing: float = 1.3
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
    near_chance: float = 0.05
    flat: float = 0.97
    far_from_zero: float = 0.4
    healed: float = 0.25
    share_advised: float = 0.1
    ratio_advised: float = 0.004
    soon: int = 3
    late: int = 20
    late_ratio: float = 3e-4
    cap: float = 0.35

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            steps = self._boldest(record, stream)
            if steps is None or settings(record, steps.optimizer).get("maximize") is True:
                continue
            trouble = self.trouble(steps) or self._suspicion(steps)
            if trouble is not None:
                yield self._finding(steps, trouble)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once the loss has shown it, it stays, until the loss has come down far enough."""
        stream = next((s for s in record.streams if s.number == finding.stream), None)
        steps = None if stream is None else self._boldest(record, stream)
        if stream is None or steps is None:
            return False
        if stream not in judged(record):
            return True
        newest = steps.finite[-steps.window(self.lasting) :]
        return bool(np.median(newest) < float(finding.evidence["forgiven_below"]))

    def _boldest(self, record: Record, stream: Stream) -> Steps | None:
        """Of optimizers that step together, the one whose steps are the largest against the weights."""
        several = [Steps(record, stream, optimizer) for optimizer in stream.optimizers if len(optimizer.rows)]
        several = [steps for steps in several if steps.lr.max(initial=0.0) > 0]
        if len(several) == 1:
            return several[0]
        return max(several, key=lambda steps: float(steps.ratios().max(initial=0.0)), default=None)

    # -- what shows it ----------------------------------------------------------------------------------------------

    def trouble(self, steps: Steps) -> Trouble | None:
        """The first of the signs that hold now."""
        if self._goes_well(steps):
            return self._late(steps)
        signs = (self._not_finite, self._rose, self._died, self._stuck, self._stalled, self._collapsed, self._late)
        return next((found for found in (sign(steps) for sign in signs) if found is not None), None)

    def _goes_well(self, steps: Steps) -> bool:
        """Whether nothing but a slow rise can be the matter: most runs, most of the time."""
        losses, start = steps.finite, steps.start
        if len(losses) < len(steps.losses) or len(losses) < self.lasting or losses.max() > self.slightly_above * start:
            return False
        now, chance = float(losses[-self.lasting :].mean()), steps.chance
        if now > self.far_from_zero * start and self.share(steps) > self.bold_share:
            return False
        return now < self.fell * start and not abs(now / chance - 1) < 3 * self.near_chance

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
        """Whether steps changed most of the weights."""
        return self.share(steps) > self.bold_share or steps.ratios(32).max(initial=0.0) > self.bold_ratio

    def _driven(self, steps: Steps) -> bool:
        """Whether single steps were large against the weights, or should have taken away much of the loss."""
        if steps.ratios(32).max(initial=0.0) > self.driven_ratio or self.share(steps) > self.adaptive_share:
            return True
        return max((g.descent for g in steps.geometry.values()), default=0.0) > self.driven_fall * steps.start

    def _not_finite(self, steps: Steps) -> Trouble | None:
        losses = steps.losses
        finite = np.isfinite(losses)
        if finite.all() or not finite[0]:
            return None
        first = int(np.argmin(finite))
        if finite[first:].any():
            return None
        before = losses[:first]
        grew = first >= 2 and before[-1] > self.above * steps.start and before[-1] >= before.max()
        if not grew and not self._driven(steps):
            return None
        sign = f"the loss is no number since step {int(steps.rows[first])}"
        if grew:
            sign += f", after it grew to {float(before[-1]):.4g}"
        beyond = np.append(before > self.above * steps.start, True)
        return Trouble(int(np.argmax(beyond)), "error", sign, {"start": steps.start}, self.healed * steps.start)

    def _rose(self, steps: Steps) -> Trouble | None:
        """The loss rose above its start, by as much as proves it, and has not fallen far since."""
        losses, few, start = steps.finite, self.in_a_row, steps.start
        if len(losses) <= few or not start > 0 or np.median(losses[-self.lasting :]) < self.healed * start:
            return None
        bold = self._bold(steps)
        if bold or self.share(steps) > self.adaptive_share:
            limit = (self.slightly_above if bold else self.above) * start
            high = medians_of_three(losses) > limit
        elif self._driven(steps) and not (steps.adaptive and self.share(steps) < self.calm_share):
            limit = self.above * start
            high = smallest_of_three(losses) > limit
        else:
            return self._left(steps)
        if not high.any():
            return None
        return self._risen(steps, int(np.argmax(losses > limit)))

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
        growth = losses[max(since - 1, 0) : since + 2 * self.in_a_row]  # data that change make one jump
        growing = growth[1:] > self.growing * growth[:-1]
        return self._risen(steps, since) if (growing[1:] & growing[:-1]).any() else None

    def _risen(self, steps: Steps, since: int) -> Trouble:
        losses, start = steps.finite, steps.start
        top, now = float(losses[since:].max()), float(np.median(losses[-self.in_a_row :]))
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
        if bold < self.stuck_ratio or now < self.back * steps.start or not (newest < self.dead * first[0]).all():
            return None
        sign = f"after steps of {100 * bold:.2g} % of the weights the gradients are all but gone"
        return Trouble(0, "error", sign, {"start": steps.start, "now": now}, self.fell * steps.start)

    def _stuck(self, steps: Steps) -> Trouble | None:
        """The steps are large against the weights, and the loss does not fall."""
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < 2 * window:
            return None
        first = steps.ratios()
        bold = float(np.median(first)) if len(first) else 0.0
        bold = max(bold, self._newest_ratio(steps))
        if bold < self.stuck_ratio or steps.adaptive and self.share(steps) < self.stuck_share:
            return None
        now = float(losses[-window:].mean())
        level = steps.start if self._driven(steps) else steps.level
        if now < self.stuck * level or windows_mean(losses, window).min() < self.fell * level:
            return None
        sign = f"with steps of {100 * bold:.2g} % of the weights the loss has not fallen in {len(losses)} steps"
        return Trouble(0, "warning", sign, {"start": steps.start, "now": now, "ratio": bold}, self.fell * level)

    def _stalled(self, steps: Steps) -> Trouble | None:
        """After steps as large as the weights the loss lies at chance level, or does not move far above zero."""
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < max(self.stuck_rows, 2 * window) or not (self._bold(steps) or self._driven(steps)):
            return None
        now, before = float(losses[-window:].mean()), float(losses[-2 * window : -window].mean())
        guesses = max(abs(now / steps.chance - 1), abs(before / steps.chance - 1)) < self.near_chance
        flat = len(losses) >= 4 * window and now > self.far_from_zero * steps.start
        flat = flat and now > self.flat * float(losses[window : 2 * window].mean())
        if not guesses and not (flat and self.share(steps) > self.bold_share):
            return None
        where = f"that of guessing among {classes(steps.optimizer)}" if guesses else "where it stays"
        sign = f"after steps as large as the weights the loss is {now:.4g}, {where}"
        return Trouble(0, "warning", sign, {"start": steps.start, "now": now}, self.healed * steps.start)

    def _collapsed(self, steps: Steps) -> Trouble | None:
        """The loss had fallen, shot up, and is back where it began."""
        losses, window = steps.finite, steps.window(self.stuck_rows // 2)
        if len(losses) < 2 * window:
            return None
        now, level = float(losses[-window:].mean()), steps.start if self._driven(steps) else steps.level
        if now < self.back * level:
            return None
        means, high = windows_mean(losses, window), medians_of_three(losses)
        lowest = int(np.argmin(means))
        peak = lowest + int(np.argmax(high[lowest:]))
        if means[lowest] > self.fell * level or high[peak] < self.above * level or peak >= len(losses) - window:
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
        return float(np.median(newest)) if len(newest) else 0.0

    # -- what to do -------------------------------------------------------------------------------------------------

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
        doubled = steps.finite > self.above * steps.start
        when = int(np.argmax(doubled)) if doubled.any() else self.late
        estimates = {"tenth": lr / 10, "time": lr / (3 if when >= self.late else 10 if when > self.soon else 30)}
        paces = steps.paces(min(10, max(1, when)))
        if len(paces) and np.median(paces) > 0:
            estimates["weights"] = self.ratio_advised / float(np.median(paces))
        geometry = [steps.geometry[row] for row in sorted(steps.geometry)]
        pairs = zip(geometry, geometry[1:6])
        bends = [b.change / a.update for a, b in pairs if a.update > 0 and np.isfinite(b.change)]
        if bends and 0 < max(bends) < np.inf:
            estimates["secant"] = max(2 * (1 - steps.momentum) / max(bends), lr / 100)
        return {name: min(value, lr) for name, value in estimates.items() if 0 < value < np.inf}

    def _finding(self, steps: Steps, trouble: Trouble) -> Finding:
        optimizer = steps.optimizer
        to, estimates = self.advised(steps)
        advice = change_lr(optimizer, peaks(steps.record, optimizer), to)
        if trouble.late:
            advice, estimates = decade_down(steps.record, optimizer), {"tenth": float(steps.lr[-1]) / 10}
        at = int(steps.which[trouble.since])
        return self.finding(
            (int(steps.rows[trouble.since]), int(steps.rows[-1])),
            severity=trouble.severity,
            evidence={
                "lr": float(steps.lr.max()),
                "sign": trouble.sign,
                **trouble.numbers,
                **({"forgiven_below": trouble.forgiven} if trouble.severity != "info" else {}),
                "advised_from": {name: float(f"{value:.3g}") for name, value in estimates.items()},
            },
            stream=steps.stream.number,
            optimizer=optimizer.number,
            where=steps.record.site(int(steps.stream.optimizers[0].scalars["step_site"][at])),
            label="these steps",
            advice=advice,
        )


def medians_of_three(losses: Floats) -> Floats:
    """Of each loss and the two before it # (losses - 2,)."""
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(losses, 3), axis=1))


def smallest_of_three(losses: Floats) -> Floats:
    return np.asarray(np.lib.stride_tricks.sliding_window_view(losses, 3).min(axis=1))


def windows_mean(losses: Floats, length: int) -> Floats:
    """The mean of each stretch of `length` losses # (losses - length + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(losses)])
    means: Floats = (total[length:] - total[:-length]) / length
    return means
