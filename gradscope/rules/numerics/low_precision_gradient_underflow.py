"""GS704 low-precision-gradient-underflow."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.numerics import Underflow
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.flow import look
from gradscope.rules.judged import judged
from gradscope.rules.standing import Level, stuck
from gradscope.rules.steps import Steps, steps_of


@dataclass(frozen=True)
class LowPrecisionGradientUnderflow(Rule):
    """Gradients in float16 are flushed to zero, and no GradScaler lifts them above it.

    What it finds
        In backwards of a loss that nothing has scaled: a `share` of the layers in float16 handed nothing but zeroes, or
        next to nothing but zeroes and the smallest numbers there are, in `looks` looks; and it is rounding that does
        it: a cast from float32 lost most, or made gradients within `near` smallest numbers, or a layer nearer to the
        loss got such. A warning where the loss is still within a tenth of its start after `rows` rows: where it began
        high, or no layer and no weight is given anything at all; else info.
    Why it matters
        The smallest number of float16 is 6e-8. A loss that is a mean over a million pixels, or a deep network, hands
        down less than that: the layers far from the loss are not trained, and nothing says so.
    Sick
        with torch.autocast("cuda", dtype=torch.float16):
            loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    Healed
        scaler = torch.amp.GradScaler("cuda")
        ...
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    What to do
        Scale the loss with a GradScaler, or take bfloat16, which has the range of float32 and needs none.
    Silent on
        bfloat16; a GradScaler, or a loss scaled by hand far enough; zeroes of ReLU, of masks, of rows of embeddings;
        float16 in which nothing is lost; runs that learn nevertheless, or have learned: info.
    Known at
        `rows` rows (graphs are looked at in the first rows, and at each power of two from 64). Thresholds:
        {thresholds}.
    References
        Micikevicius et al., Mixed precision training, ICLR 2018 (half of the gradients of a detector were flushed);
        https://pytorch.org/docs/stable/amp.html#gradient-scaling. A layer counts once four fifths of what it is given
        are 0 and the rest is below two smallest numbers: on digits, runs fell behind those with a scaler from there on.
        `nothing`: as in GS204, a loss below it may have nothing left to teach.
    """

    code = "GS704"
    name = "low-precision-gradient-underflow"
    severity = "warning"
    message = (
        "{lost} of {layers} layers in float16 get gradients of 0, or next to nothing else: no GradScaler lifts them "
        "above 6e-8, the smallest number of float16{harm}"
    )
    needs = ("UnderflowProbe",)
    explains = ("GS204", "GS302", "GS303", "GS304", "GS403", "GS404", "GS501", "GS502", "GS701")

    share: float = 0.5
    looks: int = 3
    near: float = 64.0
    rows: int = 48
    kept: float = 0.9
    nothing: float = 1e-6

    def check(self, record: Record) -> Iterator[Finding]:
        for entry in record.facts.of(Underflow):
            fact = entry.newest
            assert isinstance(fact, Underflow)
            if not self._lost(fact) or sum(map(self._lost, entry.examples)) < self.looks:
                continue
            for stream in judged(record):
                optimizer = next((o for o in stream.optimizers if o.number == fact.optimizer), None)
                if optimizer is not None:
                    yield self._finding(record, stream, optimizer, fact, entry.first)

    def _lost(self, fact: object) -> bool:
        assert isinstance(fact, Underflow)
        rounding = fact.casts or fact.faint or 0 < fact.size <= self.near
        return bool(rounding and fact.gone + fact.faint >= self.share * fact.layers)

    def _finding(
        self, record: Record, stream: Stream, optimizer: OptimizerRecord, fact: Underflow, first: int
    ) -> Finding:
        steps = steps_of(record, stream, optimizer)
        level = stuck(steps, self.rows, self.kept) or self._untrained(steps, fact)
        return self.finding(
            (min(first, int(optimizer.rows[0])), int(optimizer.rows[-1])),
            severity="info" if level is None else "warning",
            evidence={
                "lost": fact.gone + fact.faint,
                "layers": fact.layers,
                "harm": _harm(level),
                "gone": fact.gone,
                "faint": fact.faint,
                "casts": fact.casts,
                "size": fact.size,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=(fact.parameter,) if fact.parameter else (),
            where=fact.site,
            label="of a loss that is not scaled",
            advice=_advice(optimizer, fact),
        )

    def _untrained(self, steps: Steps, fact: Underflow) -> Level | None:
        """Where no gradient is left and the loss stays where it began, be that below a guess (a weight in front of it).

        A loss of next to nothing may have nothing left to learn.
        """
        losses = steps.losses
        if fact.gone < fact.layers or len(losses) < max(self.rows, 32) or not steps.lr.max(initial=0.0) > 0:
            return None
        first, now = float(np.median(losses[:16])), float(losses[-16:].mean())
        if not now > max(self.kept * first, self.nothing) or not now < 2 * first:
            return None
        return Level(now, first, len(losses)) if look(steps.stream.optimizers).all_dead else None


def _harm(level: Level | None) -> str:
    return "" if level is None else f". The loss is at {level.now:.4g} after {level.rows} steps"


def _advice(optimizer: OptimizerRecord, fact: Underflow) -> tuple[Advice, ...]:
    name = optimizer.variable
    scaler = (
        f'scale the loss: scaler = torch.amp.GradScaler("{fact.device}") once, before the loop; at line '
        f"{fact.site.line} scaler.scale(loss).backward(), and scaler.step({name}); scaler.update() for {name}.step()"
    )
    if any(p.dtype == "float16" for p in optimizer.parameters):
        autocast = f'torch.autocast("{fact.device}", dtype=torch.float16)'
        scaler = f"keep the weights in float32, under {autocast}, and {scaler}"
    return Advice(scaler), Advice("or take bfloat16, which needs no scaler")
