"""GS403 gradient-vanishing."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.profile import Profile, profile
from gradscope.rules.standing import Level, came_down, stuck
from gradscope.rules.steps import steps_of


@dataclass(frozen=True)
class GradientVanishing(Rule):
    """The first layers get next to nothing of the gradient that the last ones get, and the loss does not fall.

    What it finds
        The gradient of each weight matrix against the size of its weights: it shrinks from the last layer to the first
        by more than a factor of 1 / `ratio` (adaptive optimizers, whose steps do not shrink with it: 1 / `adaptive`),
        in the first rows and in the newest; and all the time the loss has stayed at what it is worth to know nothing.
    Why it matters
        What the first layers hand on stays noise, and what the last ones learn from noise is nothing.
    Sick
        for _ in range(8):
            layers += [nn.Linear(48, 48), nn.Sigmoid()]
    Healed
        for _ in range(8):
            layers += [nn.Linear(48, 48), nn.ReLU()]
            nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
    What to do
        Let each layer hand on what it gets: a short cut around each, or ReLU and the initialisation that belongs to it,
        with a normalisation between them. A larger learning rate does not help the first layers.
    Silent on
        A loss that falls or has ever fallen, whatever the gradients; fine-tuning, which begins below chance level;
        fewer than `matrices` weights; gradients that are small in the middle only; losses that may rise.
    Known at
        `rows` rows; with adaptive optimizers, which often come through by themselves, `rows_adaptive`. Thresholds:
        {thresholds}.
    References
        Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks; 1e-3 between
        first and last layer: AutoTrainer (ICSE 2021). Of sigmoid, tanh and ReLU networks of 2 to 24 layers on digits,
        SGD left chance level within 1,500 rows at no ratio below 2e-3, Adam within 300 at all but those below 1e-5.
    """

    code = "GS403"
    name = "gradient-vanishing"
    severity = "warning"
    needs = ("norms",)
    message = (
        "the gradients vanish on their way back: {first} gets {ratio} of what {last} gets, relative to their weights "
        "(a factor of {factor} a layer), and the loss has stayed at {now} for {rows} steps"
    )
    explains = ("GS204", "GS302", "GS501")

    ratio: float = 1e-3
    adaptive: float = 1e-4
    matrices: int = 4
    order: float = 0.8  # rank correlation of the gradients' sizes with the layers' order
    kept: float = 0.97  # of the loss at the start
    rows: int = 100
    rows_adaptive: int = 300
    rows_ended: int = 200  # the same, at the end of the run

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            steps = steps_of(record, stream, stream.optimizers[0])
            rows, limit = self.rows, self.ratio
            if any(steps_of(record, stream, o).adaptive for o in stream.optimizers):
                rows, limit = self.rows_ended if record.meta.ended else self.rows_adaptive, self.adaptive
            if len(stream.rows) < rows:
                continue
            level = stuck(steps, rows, self.kept)
            found = None if level is None else profile(stream)
            if level is not None and found is not None and self._vanishes(found, limit):
                yield self._finding(record, stream, found, level)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the loss has come down."""
        return came_down(record, finding.stream, float(finding.evidence["level"]))

    def _vanishes(self, found: Profile, limit: float) -> bool:
        few = len(found.names) < self.matrices
        return not few and max(found.ratio(), found.ratio(newest=True)) < limit and found.order > self.order

    def _finding(self, record: Record, stream: Stream, found: Profile, level: Level) -> Finding:
        optimizer, ratio = stream.optimizers[0], found.ratio(newest=True)
        cures = (
            "let each layer hand on what it gets: a short cut around each, x + f(x), or ReLU with "
            "nn.init.kaiming_normal_ in place of sigmoid or tanh; with normalisation (BatchNorm, LayerNorm) between "
            "the layers"
        )
        return self.finding(
            (int(stream.rows[0]), int(stream.rows[-1])),
            evidence={
                "first": found.names[0],
                "last": found.names[-1],
                "ratio": ratio,
                "factor": ratio ** (1 / (len(found.names) - 1)),
                "now": level.now,
                "level": level.level,
                "rows": level.rows,
                "at_start": found.ratio(),
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=found.names[: max(1, len(found.names) // 2)],
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="these gradients",
            advice=(Advice(cures),),
        )
