"""GS601 input-not-normalized."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.inputs import InputScale
from gradscope.facts.model import Firing, Saturation
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules import input_code
from gradscope.rules.base import Rule
from gradscope.rules.chance import guess
from gradscope.rules.input_advice import advice, told
from gradscope.rules.input_code import Coded, coded
from gradscope.rules.judged import judged, skipped
from gradscope.rules.steps import Floats, Steps, steps_of, windows_mean


@dataclass(frozen=True)
class Harm:
    """What the losses show, in words; `worth` is what it is worth to know nothing (0: not known)."""

    text: str
    now: float
    worth: float


@dataclass(frozen=True)
class InputNotNormalized(Rule):
    """What goes into the first layer is far from mean 0 and standard deviation 1, and the run is hurt.

    What it finds
        Inputs with an rms of `large` or more (all features together), or of `tiny` or less, that no normalisation
        follows; and losses that are no numbers, or stay above their start; or are `guessing` times a blind guess or
        more, after `rows` steps where they began or went `far` above it, else after `rows_stuck`; or are above
        `flat_share` or `dead_share` of it while the first layer is flat or units are dead; or began `far` above it and
        no longer fall at `slow` of it (adaptive optimizers, or thrown to `thrown` times the first loss). Or a column of
        a table with one value, again and again (in three of ten rows at most), 20 ranges of all its others away from
        them and `outlying` times as large as all else, while the loss is above `code_left` of a blind guess: a code for
        what is not known; batch normalisation behind it makes it worse. As info: such inputs in a run that trains all
        the same.
    Why it matters
        The curvature grows with the square of the inputs: an lr that suits them is r * r times smaller, and far too
        small for all else. Large features hide the small ones, units die or saturate in the first steps.
    Sick
        images = torch.tensor(digits).float()  # 0 to 255
    Healed
        images = torch.tensor(digits).float() / 255
    What to do
        The code is named, with the means and standard deviations measured in the batches. Take the same numbers for
        validation and test data.
    Silent on
        Images in [0, 1] or [-1, 1], one-hot and sparse inputs, indices of embeddings; an rms between `tiny` and
        `large`; BatchNorm or LayerNorm before or right behind the first layer; losses that may rise. As info where the
        lr would be too high for any inputs: GS301 tells.
    Known at
        Three losses that are no numbers; else `rows` steps, four times as many while the loss falls fast. Thresholds:
        {thresholds}.
    References
        LeCun, Bottou, Orr and Mueller, Efficient BackProp (1998), 4.3. 290 pairs of trainings, raw and normalised, of
        29 models and data (digits, CIFAR-10, wine, iris, breast cancer, diabetes, series; SGD, momentum, Adam): the raw
        one stayed at a blind guess while its twin came to 0.8 of it in 1 of 40 with an rms up to 8, in 104 of 200 with
        one of 20 and more (15 of 60 with Adam), in none of 50 with BatchNorm before or behind the first layer.
    """

    code = "GS601"
    name = "input-not-normalized"
    severity = "warning"
    message = "the inputs of {place} are not normalised: {what}{harm}"
    explains = (
        "GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS301", "GS302", "GS401", "GS402", "GS403", "GS404",
        "GS405", "GS501", "GS502",
    )  # fmt: skip

    large: float = 20.0
    tiny: float = 0.02
    tiny_values: float = 0.1  # the largest of them: one-hot and sparse inputs have a small rms, too
    samples: int = 8
    rows: int = 50
    rows_stuck: int = 150
    rows_slow: int = 200
    far: float = 2.0
    at_once: int = 4  # losses
    guessing: float = 0.95
    slow: float = 0.6
    falling: float = 0.9  # of the quarter of the run before: below, the loss falls
    thrown: float = 8.0  # times the first loss
    saturated: float = 0.6
    flat_share: float = 0.5
    dead: float = 0.9
    dead_share: float = 0.3
    outlying: float = 100.0  # times the rms of all else, or 1
    code_left: float = 0.3
    code_samples: int = 256
    bold_lr: float = 3.0  # lr / (1 - momentum): too high for any inputs
    bold_share: float = 0.7  # the same for adaptive optimizers: lr against the weights' rms

    def check(self, record: Record) -> Iterator[Finding]:
        facts: list[InputScale] = newest_of(record.facts.of(InputScale))
        facts = [fact for fact in facts if self._off(fact)]
        for stream in judged(record):
            numbers = {optimizer.number for optimizer in stream.optimizers}
            mine = [fact for fact in facts if fact.optimizer in numbers]
            code = coded(record, stream, self.outlying)
            if code is not None and code.fact.samples >= self.code_samples:
                rows = sum(blocks["rows"].sum() for blocks in stream.courses.values())
                if rows >= self.rows_stuck or record.meta.ended and rows >= self.rows:
                    yield self._of_code(record, stream, code)
            elif mine:
                worst = max(mine, key=lambda fact: abs(math.log(max(fact.rms, 1e-30))))
                found = self._judged(record, stream, worst)
                if found is not None:
                    yield found

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the loss has come down to half of what it is worth to know nothing."""
        stream = record.stream(finding.stream)
        if "code" in finding.evidence:
            found = None if stream is None else coded(record, stream, self.outlying)
            return found is not None and found.left < self.code_left / 2
        worth = float(finding.evidence["guess"])
        if stream is None or len(stream.loss) < 4:
            return False
        newest = stream.loss[-max(16, len(stream.loss) // 8) :]
        return bool(worth > 0 and np.isfinite(newest).all() and newest.mean() < worth / 2)

    def _off(self, fact: InputScale) -> bool:
        if fact.normalised or fact.samples < self.samples:
            return False
        largest = max(abs(fact.low), abs(fact.high))
        return fact.rms >= self.large or fact.rms <= self.tiny and largest <= self.tiny_values

    def _judged(self, record: Record, stream: Stream, fact: InputScale) -> Finding | None:
        steps = steps_of(record, stream, stream.optimizers[0])
        losses = steps.losses
        if len(losses) < 3 or not np.isfinite(losses[0]):
            return None
        harm = self._harm(record, steps, fact)
        if harm is not None:
            severity = "info" if self._any_inputs(steps) else "warning"
            return self._finding(record, stream, fact, harm, severity)
        if len(losses) < self.rows and not record.meta.ended or fact.rms < self.large:
            return None
        return self._finding(record, stream, fact, Harm("; the run trains all the same", float(losses[-1]), 0), "info")

    def _of_code(self, record: Record, stream: Stream, code: Coded) -> Finding:
        fact, hurt = code.fact, code.left >= self.code_left
        harm = f"the loss is at {code.left:.2g} of a blind guess" if hurt else "the run trains all the same"
        told_of = {"what": input_code.told(fact), "harm": f"; {harm}", "code": fact.value, "column": fact.column}
        numbers = {"times": fact.times, "size": fact.size}
        texts = tuple(Advice(text) for text in input_code.advice(fact))
        return self._told(record, stream, fact.place, None if hurt else "info", {**told_of, **numbers}, texts)

    def _any_inputs(self, steps: Steps) -> bool:
        """Whether the lr would be too high for any inputs."""
        if steps.adaptive:
            return steps.share > self.bold_share
        return float(steps.lr.max(initial=0.0)) / (1 - steps.momentum) > self.bold_lr

    def _harm(self, record: Record, steps: Steps, fact: InputScale) -> Harm | None:
        losses, large = steps.losses, fact.rms >= self.large
        worth = guess(record, steps.stream)
        newest, finite = losses[-3:], steps.finite
        if not np.isfinite(newest).any() and large:
            soon = len(finite) <= self.at_once or losses[0] > self.far * worth > 0
            grew = soon or finite.max() > self.far * losses[0]
            text = f", and the loss, {losses[0]:.3g} at first, is no number any more"
            return Harm(text, math.nan, worth) if grew else None
        if not np.isfinite(newest).all():
            return None
        if large and len(losses) > 3 and newest.min() > self.far * max(steps.level, worth):
            text = f", and the loss went from {losses[0]:.3g} to {newest[-1]:.3g}"
            return Harm(text, float(newest[-1]), worth)
        if not worth or len(finite) < self.rows:
            return None
        quarter = max(1, min(len(finite) // 4, steps.window(16)))
        now = float(finite[-quarter:].mean())
        text = f", and after {len(finite)} steps the loss is {now:.3g} (it began at {losses[0]:.3g}; a blind guess: "
        harm = Harm(f"{text}{worth:.3g})", now, worth)
        highest = float(windows_mean(finite, 3).max())
        bad = large and max(losses[0], highest) > self.far * worth
        falls = now < self.falling * float(finite[-2 * quarter : -quarter].mean())
        if now >= self.guessing * worth and (bad or large and self._flat(record, fact)):
            return harm if len(finite) >= (4 * self.rows if falls else self.rows) else None
        if now >= self.guessing * worth and not falls and len(finite) >= self.rows_stuck:
            return harm if windows_mean(finite, quarter).min() > 0.9 * worth else None
        ended = 1 + record.meta.ended
        if large and len(finite) >= 2 * self.rows // ended and self._crippled(record, fact, now / worth):
            return harm
        if not bad or now < self.slow * worth or len(finite) < self.rows_slow or self._still_falls(finite):
            return None
        return harm if steps.adaptive or highest > self.thrown * losses[0] else None

    def _still_falls(self, losses: Floats) -> bool:
        quarter = len(losses) // 4
        return bool(losses[-quarter:].mean() < 0.95 * losses[quarter : 2 * quarter].mean())

    def _flat(self, record: Record, fact: InputScale) -> bool:
        """Whether the first layer that the inputs go into has next to no slope, from the first row on."""
        found = (f for e in record.facts.of(Saturation) for f in e.examples[:1] if isinstance(f, Saturation))
        return any(f.optimizer == fact.optimizer and f.first and f.saturated >= self.saturated for f in found)

    def _crippled(self, record: Record, fact: InputScale, share: float) -> bool:
        """Whether units are flat or dead, and the loss still at such a share of a blind guess."""
        if share >= self.flat_share and self._flat(record, fact):
            return True
        mine = [f for f in newest_of(record.facts.of(Firing)) if f.optimizer == fact.optimizer]
        return share >= self.dead_share and any(f.silent[-1] >= self.dead * f.units for f in mine)

    def _finding(self, record: Record, stream: Stream, fact: InputScale, harm: Harm, severity: str) -> Finding:
        evidence = {
            "what": told(fact),
            "harm": harm.text,
            "rms": fact.rms,
            "mean": fact.mean,
            "std": fact.deviation,
            "low": fact.low,
            "high": fact.high,
            "features": fact.features,
            "now": harm.now,
            "guess": harm.worth,
        }
        return self._told(record, stream, fact.place, severity, evidence, advice(fact))

    def _told(
        self,
        record: Record,
        stream: Stream,
        place: str,
        severity: str | None,
        evidence: dict[str, object],
        cures: tuple[Advice, ...],
    ) -> Finding:
        optimizer = stream.optimizers[0]
        return self.finding(
            (int(stream.rows[0]), int(stream.rows[-1])),
            severity=severity,
            evidence={"place": place, **evidence},
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=(place,),
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="what this loss is made of goes in as it is",
            advice=cures,
        )
