"""GS507 batchnorm-small-batch."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.model import BatchStatistics
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.standing import lately


@dataclass(frozen=True)
class BatchnormSmallBatch(Rule):
    """Batch normalisation takes mean and variance from so few values that they are noise.

    What it finds
        A batch normalisation in train mode that has, in most rows looked at, fewer than `few` values for a channel
        (samples times positions): batches of 1 to 3 with BatchNorm1d, or after the feature map has shrunk to 1 x 1. As
        info: fewer than `rather_few`, or such a batch now and then (the last one of an epoch).
    Why it matters
        The variance of two values has a standard error of 140 %: of a batch of two, each normalised value is +1 or -1,
        whatever the input was. In eval mode, the running statistics then make another model of it.
    Sick
        nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())  # batches of 2
    Healed
        nn.Sequential(nn.Linear(64, 64), nn.GroupNorm(8, 64), nn.ReLU())
    What to do
        GroupNorm or LayerNorm, which do not look at the batch; or a larger batch (accumulating gradients does not
        help); DataLoader(drop_last=True) against a short last one.
    Silent on
        Batch normalisation in eval mode; large feature maps at batch 1 or 2, whose positions are values too; backwards
        through a model that only evaluates.
    Known at
        `looks` rows. Thresholds: {thresholds}.
    References
        Wu and He, Group normalization (2018), figure 1: the error grows below 8 to 16 images (their feature maps have
        49 positions and more). On digits, an MLP does three times worse at 2 values, as well at 8.
    """

    code = "GS507"
    name = "batchnorm-small-batch"
    severity = "warning"
    message = "{place} normalises each channel by {values} values{when}: its statistics are off by {error} %"
    explains = ("GS203", "GS204", "GS205", "GS206")

    few: int = 4
    rather_few: int = 8
    looks: int = 4
    enough: int = 16

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in record.streams:
            numbers = {o.number for o in stream.optimizers}
            facts = [f for f in newest_of(record.facts.of(BatchStatistics)) if f.optimizer in numbers]
            facts = [f for f in facts if f.looks >= self.looks and lately(f.row, int(stream.rows[-1]))]
            always = [f for f in facts if f.usual < self.few]
            sometimes = [f for f in facts if f.usual < self.rather_few or f.least < self.few]
            if always or sometimes:
                yield self._finding(record, stream, always or sometimes, "warning" if always else "info")

    def _finding(self, record: Record, stream: Stream, facts: list[BatchStatistics], severity: str) -> Finding:
        often = [f for f in facts if f.usual < self.rather_few]
        worst = min(often or facts, key=lambda fact: (fact.usual, fact.least))
        values = worst.usual if often else worst.least
        optimizer = stream.optimizers[0]
        return self.finding(
            (min(e.first for e in record.facts.of(BatchStatistics) if e.newest in facts), int(stream.rows[-1])),
            severity=severity,
            evidence={
                "place": worst.place,
                "values": values,
                "when": "" if often else " in some batches",
                "error": round(100 * math.sqrt(2 / max(1, values - 1))),
                "usual": worst.usual,
                "least": worst.least,
                "batch": worst.batch,
                "layers": [fact.place for fact in facts],
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=tuple(fact.place for fact in facts),
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="this model normalises over few values",
            advice=self._advice(worst) if often else (Advice("leave the short batch out: DataLoader(drop_last=True)"),),
        )

    def _advice(self, fact: BatchStatistics) -> tuple[Advice, ...]:
        groups = next(g for g in (32, 16, 8, 4, 2, 1) if fact.channels % g == 0 and (fact.channels >= 4 * g or g == 1))
        per_sample = max(1, fact.number // max(1, fact.batch))
        batch = -(-self.enough // per_sample)
        return (
            Advice(f"use nn.GroupNorm({groups}, {fact.channels}) in place of {fact.place}"),
            Advice(f"or batches of {batch} (it is {fact.batch}): {self.enough} values a channel"),
        )
