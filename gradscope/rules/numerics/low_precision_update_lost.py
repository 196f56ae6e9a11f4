"""GS701 low-precision-update-lost."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.numerics import LostUpdates
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.standing import Level, stuck
from gradscope.rules.steps import steps_of


@dataclass(frozen=True)
class LowPrecisionUpdateLost(Rule):
    """Weights in bfloat16 or float16 stay as they are: what the step adds is rounded away.

    What it finds
        Weight matrices in low precision (of a model that has none: all it has) of whose values (a few of each, those
        with a gradient) a `share` or more stayed as they were, to the bit, in the newest looks; a warning where the
        loss, which began high, is still within a tenth of its start after `rows` rows. Else, from `most` on, info.
    Why it matters
        bfloat16 has 8 bits: next to 0.05 its numbers are 0.0002 apart, and whatever is less than half of that is lost,
        at every step anew: it does not add up. The same lr trains in float32.
    Sick
        model = Model().to(torch.bfloat16)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    Healed
        model = Model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        ...
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = loss_fn(model(x), y)
    What to do
        Keep the weights in float32 and compute under autocast; or an optimizer that keeps float32 copies of them, or
        rounds stochastically.
    Silent on
        float32 weights under autocast; optimizers that hold float32 copies; rows of embeddings that no token touched;
        runs that learn although most of the values stay (the largest steps come through); fine-tuning, whose loss
        begins low: info at most; learning rates of 0, or on their way up or down; losses that may rise.
    Known at
        `rows` rows, and `looks` looks. Thresholds: {thresholds}.
    References
        Zamirai et al., Revisiting BFloat16 Training, 2020 (updates cancelled by rounding); Micikevicius et al. 2018
        (float32 master weights). `share`, `most`: pairs of short runs in bfloat16 and float32 (digits and text; SGD,
        momentum, AdamW; new and trained models). Below 0.8 nearly all came as far as float32 did. From 0.8 to 0.95 it
        depends (8 % to 110 % of the way), so the loss decides; beyond 0.97 most came less than half the way.
    """

    code = "GS701"
    name = "low-precision-update-lost"
    severity = "warning"
    message = (
        "{percent} % of the {dtype} values that {steps} steps should have changed stayed as they were, to the bit: "
        "near {size} such numbers are {spacing} apart, and less than half of that is rounded away{harm}"
    )
    needs = ("LostUpdatesProbe",)
    explains = ("GS106", "GS204", "GS302", "GS303", "GS304")

    share: float = 0.8
    most: float = 0.95
    looks: int = 4
    compared: int = 64
    rows: int = 100
    kept: float = 0.9

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in newest_of(record.facts.of(LostUpdates)):
            if fact.looks < self.looks or fact.compared < self.compared or fact.stayed < self.share * fact.compared:
                continue
            for stream in judged(record):
                optimizer = next((o for o in stream.optimizers if o.number == fact.optimizer), None)
                if optimizer is not None and _most_are_low(stream, optimizer):
                    level = self._stuck(record, stream, optimizer)
                    if level is not None or fact.stayed >= self.most * fact.compared:
                        yield self._finding(record, stream, optimizer, fact, level)

    def _stuck(self, record: Record, stream: Stream, optimizer: OptimizerRecord) -> Level | None:
        steps = steps_of(record, stream, optimizer)
        level = stuck(steps, self.rows, self.kept)
        return level if level is not None and steps.started_high() else None

    def _finding(
        self, record: Record, stream: Stream, optimizer: OptimizerRecord, fact: LostUpdates, level: Level | None
    ) -> Finding:
        scaler = " and a GradScaler" if fact.dtype == "float16" else ""
        autocast = f'torch.autocast("{fact.device}", dtype=torch.{fact.dtype})'
        keep = f"keep the weights in float32: leave the model as it is made, and run forward and loss under {autocast}"
        harm = "" if level is None else f". The loss is at {level.now:.4g} after {level.rows} steps"
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            severity="info" if level is None else "warning",
            evidence={
                "percent": round(100 * fact.stayed / fact.compared),
                "dtype": fact.dtype,
                "steps": fact.looks,
                "size": fact.size,
                "spacing": fact.spacing,
                "harm": harm,
                "lr": float(optimizer.lr[-1].max()),
                "compared": fact.compared,
                "stayed": fact.stayed,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["step_site"][-1])),
            label="these steps are rounded away",
            advice=(
                Advice(keep + scaler),
                Advice("or take an optimizer that keeps float32 copies of the weights, or rounds stochastically"),
            ),
        )


def _most_are_low(stream: Stream, optimizer: OptimizerRecord) -> bool:
    """Of its weight matrices. Biases and gains count only where nothing else is trained."""
    least = 2 if any(len(p.shape) > 1 for one in stream.optimizers for p in one.parameters) else 0
    low = [p.dtype in ("bfloat16", "float16") for p in optimizer.parameters if len(p.shape) >= least]
    return 2 * sum(low) > len(low)
