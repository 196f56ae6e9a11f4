"""GS405 clipping-always-active."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.gradients import Clipping
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.middle import median
from gradscope.rules.norms import clip_at, clips, norms, tidy
from gradscope.rules.steps import Steps, steps_of


@dataclass(frozen=True)
class ClippingAlwaysActive(Rule):
    """Clipping cuts nearly every gradient: the clip, not the gradient, sets the length of the steps.

    What it finds
        `share` of the calls looked at (`calls` at least) found a norm above max_norm. A warning where that holds SGD
        back: gradients are cut to less than a `factor`-th, steps change the weights by less than `ratio` of them, and
        after `rows` rows at no rising lr the loss is still within a tenth of a start that leaves much to learn.
    Why it matters
        For SGD the effective learning rate is lr x max_norm / norm: it falls as the norm grows, and a schedule found
        without the clip does something else with it. (Adam divides by the gradient's size: next to nothing changes.)
    Sick
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)  # the norms are about 1
    Healed
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)  # cuts one in ten
    What to do
        Know that the clip sets the step; or raise max_norm to the 90 % quantile of the run's own norms, which is named.
        Where the loss stands still: to a value by which the steps come to `advised_ratio` of the weights at most.
    Silent on
        Runs that make progress are info at most, however often it cuts: a recurrent network at lr 20 with a clip at
        0.25, a transformer with one at 1. Adaptive optimizers are never a warning.
    Known at
        `calls` calls (in the first 64 rows all are looked at, then one in seven). Thresholds: {thresholds}.
    References
        Zhang et al., Why gradient clipping accelerates training, ICLR 2020 (it is a step of normalised gradient
        descent). `ratio` and `advised_ratio` are those of GS302.
    """

    code = "GS405"
    name = "clipping-always-active"
    severity = "info"
    message = "clipping at {limit} cut {cut} of {seen} gradients, whose norm is {median} in the middle: {effect}{harm}"
    needs = ("ClippingProbe",)
    explains = ("GS204", "GS302")

    share: float = 0.95
    calls: int = 64
    factor: float = 10.0
    rows: int = 100
    kept: float = 0.9
    ratio: float = 1e-4
    advised_ratio: float = 3e-3
    scaled: float = 64.0

    def check(self, record: Record) -> Iterator[Finding]:
        known = {o.number: (s, o) for s in record.streams for o in s.optimizers}
        for fact in clips(record):
            if fact.optimizer not in known or not 0 < fact.limit < math.inf or not fact.acted:
                continue
            stream, optimizer = known[fact.optimizer]
            if fact.seen >= self.calls and fact.cut >= self.share * fact.seen and not self._is_scaled(fact, optimizer):
                yield self._finding(record, stream, optimizer, fact)

    def _is_scaled(self, fact: Clipping, optimizer: OptimizerRecord) -> bool:
        """Whether it clips gradients that GradScaler has multiplied: another matter."""
        if 2 * fact.scaled > fact.calls:
            return True
        made = norms(optimizer).made
        made = made[made > 0]
        return bool(len(made)) and fact.median > self.scaled * median(made)

    def _finding(self, record: Record, stream: Stream, optimizer: OptimizerRecord, fact: Clipping) -> Finding:
        steps = steps_of(record, stream, optimizer)
        factor, lr = fact.median / fact.limit, float(steps.lr[-1]) if len(steps.lr) else 0.0
        ratio = self._held_back(record, steps, fact)
        start, now = self._levels(steps) if ratio else (0.0, 0.0)
        advice = self._advice(optimizer, fact, ratio, lr / factor)
        harm = f"; the loss is at {now:.4g} after {len(steps.finite)} rows, from {start:.4g}" if ratio else ""
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            severity="warning" if ratio else "info",
            evidence={
                "limit": fact.limit,
                "cut": fact.cut,
                "seen": fact.seen,
                "median": fact.median,
                "effect": _effect(optimizer.kind, steps.adaptive, lr, factor),
                "harm": harm,
                "lr": lr,
                "effective_lr": lr / factor,
                "high": fact.high,
                "ratio": ratio,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=fact.site,
            label="cuts nearly every gradient",
            advice=advice,
        )

    def _advice(
        self, optimizer: OptimizerRecord, fact: Clipping, ratio: float, effective: float
    ) -> tuple[Advice, ...]:
        """Where it holds the run back: another max_norm. Else what would be the same, said plainly."""
        high, room = tidy(fact.high), fact.limit * self.advised_ratio / ratio if ratio else math.inf
        if ratio:
            by_norms = "nine in ten of this run's norms are below it"
            to, why = (high, by_norms) if high <= room else (tidy(room), "steps stay within 0.3 % of the weights")
            return (clip_at(optimizer, to, why, fact.limit),)
        if optimizer.kind != "SGD":
            return ()
        same = f"lr {effective:.2g} and max_norm {high:g}, which nine in ten of this run's norms are below"
        return (Advice(f"nothing, where the loss falls as it should; about the same, and easier to tune, is {same}"),)

    def _held_back(self, record: Record, steps: Steps, fact: Clipping) -> float:
        """The steps against the weights, where the clip holds the run back; else 0."""
        if steps.optimizer.kind != "SGD" or fact.median < self.factor * fact.limit or fact.covered < fact.of:
            return 0.0
        if steps.stream not in judged(record) or len(steps.finite) < self.rows or not steps.level > 0:
            return 0.0
        lr = steps.lr
        if (lr >= 0.5 * lr.max()).sum() < self.rows // 2 or lr[: -self.rows // 2].min(initial=lr[-1]) * 1.02 < lr[-1]:
            return 0.0
        if len(steps.finite) < 2 * steps.window(self.rows // 4) or not steps.started_high():
            return 0.0
        start, now = self._levels(steps)
        ratio = steps.ratio()
        return ratio if self.kept * start < now < 1.1 * start and 0 < ratio < self.ratio else 0.0

    def _levels(self, steps: Steps) -> tuple[float, float]:
        window = steps.window(self.rows // 4)
        return float(steps.finite[:window].mean()), float(steps.finite[-window:].mean())


def _effect(kind: str, adaptive: bool, lr: float, factor: float) -> str:
    if adaptive:
        return f"{kind} divides by the gradient's size, so its steps are hardly other ones"
    if kind == "SGD":
        return f"the steps are those of lr {lr / factor:.3g} (it is {lr:.3g})"
    return f"the gradients are those of a loss {factor:.3g} times smaller"
