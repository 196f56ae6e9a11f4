"""GS301 learning-rate-too-high."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.findings import Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.advice import change_lr, decade_down, peaks, settings
from gradscope.rules.base import Rule
from gradscope.rules.estimates import Estimates
from gradscope.rules.hopeless import Hopeless
from gradscope.rules.judged import annealed, judged, skipped
from gradscope.rules.jumps import Jumps
from gradscope.rules.middle import median
from gradscope.rules.norms import norms
from gradscope.rules.signs import Signs, Trouble
from gradscope.rules.steps import HEAD, Steps, steps_of


@dataclass(frozen=True)
class LearningRateTooHigh(Jumps, Hopeless, Signs, Estimates, Rule):
    """The steps are larger than the loss can follow.

    What it finds
        After large steps, a loss that rose above that of a new model (`above` times over three losses; less where they
        were as large as the weights; `beyond` times where one loss does not tell the level), that stays at its start
        or at chance level, or of which little was taken away; gradients that are all but gone. After steps of any
        size, a loss that is no number any more after it grew, that keeps growing, that fell, shot up and is back, or
        that rises slowly at the lr it fell with. As info, from the first step on: an adaptive optimizer's lr as large
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
        (data), or by one step with a gradient `times` beyond all others, or `of_weights` times the weights at
        the start (GS402); a large lr without harm (clipping, embeddings, prompts); maximize=True; losses that may rise.
    Known at
        Three losses after the first step; stuck, after `stuck_rows` steps, later under noise. Thresholds: {thresholds}.
    References
        Stability of gradient descent below 2 / sharpness: Cohen et al., Gradient descent on neural networks typically
        occurs at the edge of stability (2021). Thresholds: `benchmarks/learning_rate.py`, the tuning part.
    """

    code = "GS301"
    name = "learning-rate-too-high"
    severity = "warning"
    message = "lr {lr} {verdict} too high: {sign}"
    explains = (
        "GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS401", "GS402", "GS404", "GS501", "GS502",
        "GS703",
    )  # fmt: skip

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            steps = self._boldest(record, stream)
            if steps is None or settings(record, steps.optimizer).get("maximize") is True:
                continue
            trouble = self.trouble(steps) or self._suspicion(steps)
            if trouble is not None and not self._thrown_by_one_step(steps, trouble):
                yield self._finding(steps, trouble)
        for stream in annealed(record):
            steps = self._boldest(record, stream)
            trouble = None if steps is None else self._not_finite(steps)
            if steps is not None and trouble is not None:
                yield self._finding(steps, trouble)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once the loss has shown it, it stays, until the loss has come down far enough."""
        stream = record.stream(finding.stream)
        steps = None if stream is None else self._boldest(record, stream)
        if stream is None or steps is None:
            return False
        if stream not in judged(record):
            return stream not in annealed(record) or self._not_finite(steps) is None
        newest = steps.finite[-min(steps.window(self.lasting), 4 * self.lasting) :]
        return bool(median(newest) < float(finding.evidence["forgiven_below"]))

    def _thrown_by_one_step(self, steps: Steps, trouble: Trouble) -> bool:
        """Whether a single gradient did it, to a run that did well until then or had just begun: that is GS402's."""
        measured = norms(steps.optimizer)
        if self.hopeless(steps, measured) is not None:
            return True
        since = int(steps.rows[trouble.since])
        for row in (int(measured.rows[at]) for at in self.jumps(steps.optimizer, measured)):
            before = steps.losses[steps.rows < row][-self.lasting :]
            after = row - since  # a loss that rose before the gradient did was not thrown by it
            well = self.slightly_above if trouble.since and after > 2 else self.fell
            if -2 <= after <= 0 or after > 0 and median(before) < well * steps.start:
                return True
        return False

    def _boldest(self, record: Record, stream: Stream) -> Steps | None:
        """Of optimizers that step together, the one whose steps are the largest against the weights."""
        several = [steps_of(record, stream, optimizer) for optimizer in stream.optimizers if len(optimizer.rows)]
        several = [steps for steps in several if steps.lr.max(initial=0.0) > 0]
        if len(several) == 1:
            return several[0]
        return max(several, key=lambda steps: float(steps.ratios().max(initial=0.0)), default=None)

    @staticmethod
    def _began(steps: Steps, trouble: Trouble) -> int:
        """The index of the first loss after a step that was too large: before the loss shows it, units may have died.

        A run that is in trouble within its first rows was so since its lr was about as large as now.
        """
        before = steps.lr[: trouble.since + 1]
        if trouble.late or not len(before):
            return trouble.since
        began = int(np.argmax(before >= before[-1] / 2)) + 1
        return min(began, trouble.since) if trouble.since - began <= HEAD else trouble.since

    def _finding(self, steps: Steps, trouble: Trouble) -> Finding:
        optimizer = steps.optimizer
        to, estimates = self.advised(steps)
        advice = change_lr(optimizer, peaks(steps.record, optimizer), to)
        if trouble.late:
            advice, estimates = decade_down(steps.record, optimizer), {"tenth": float(steps.lr[-1]) / 10}
        at = int(steps.which[trouble.since])
        return self.finding(
            (int(steps.rows[self._began(steps, trouble)]), int(steps.rows[-1])),
            severity=trouble.severity,
            evidence={
                "lr": float(steps.lr.max()),
                "verdict": "may be" if trouble.severity == "info" else "is",
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
