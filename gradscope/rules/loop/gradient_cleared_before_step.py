"""GS104 gradient-cleared-before-step."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.loop import SkippedStep
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Wiring
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class GradientClearedBeforeStep(Rule):
    """zero_grad stands between backward and step: the step finds nothing.

    What it finds
        A step ran with no gradient (None or zero) although a backward had reached the optimizer's parameters since its
        previous step, and everything that backward made had been cleared before; in 2 consecutive steps, or in the only
        one.
    Why it matters
        The model never learns, the loss stays where it is, and nothing complains. With momentum or weight decay the
        weights even move, by everything but the gradient.
    Sick
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
    Healed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    What to do
        Move `zero_grad()` before `backward()`, or after `step()`.
    Silent on
        Gradients that another network's loss left and that are cleared; a last partial accumulation; backwards made for
        the input's gradient only (Grad-CAM, FGSM); steps that a guard against NaN or outliers drops; steps beside one
        that GradScaler skips (a clip over both makes zeroes of what is finite).
    Known at
        The second step. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
    """

    code = "GS104"
    name = "gradient-cleared-before-step"
    severity = "error"
    message = "{count} of {steps} steps found no gradient: what backward() made had been cleared before"
    explains = ("GS102", "GS105", "GS106", "GS107", "GS204", "GS302", "GS404")

    consecutive: int = 2
    share: float = 0.5  # of the steps since the first

    def check(self, record: Record) -> Iterator[Finding]:
        overflowed = [skip.row for entry in record.facts.of(SkippedStep) for skip in entry.examples]
        for optimizer in record.optimizers:
            cleared = ((optimizer.wiring & Wiring.CLEARED) != 0) & ~np.isin(optimizer.rows, overflowed)
            only = record.meta.ended and len(cleared) == 1 and bool(cleared.all())
            if not only and not _run_of(cleared, self.consecutive):
                continue
            if cleared.sum() < self.share * (len(cleared) - int(np.argmax(cleared))):
                continue  # a guard that drops some batches
            rows = optimizer.rows[cleared]
            at = int(np.argmax(cleared))
            site = record.site(int(optimizer.scalars["zero_grad_site"][at]))
            backward = record.site(int(optimizer.scalars["backward_site"][at]))
            before = f" before backward() in line {backward.line}" if backward else " before backward()"
            label = "clears what backward() has just made" if site else ""
            values = {"optimizer": optimizer.number}
            yield self.finding(
                (int(rows[0]), int(rows[-1])),
                evidence={"count": int(cleared.sum()), "steps": len(cleared)},
                stream=record.stream_of(optimizer.number),
                optimizer=optimizer.number,
                where=site or record.site(int(optimizer.scalars["step_site"][at])),
                label=label,
                advice=(Advice("move zero_grad()" + before, "move-zero-grad", values),),
            )


def _run_of(hits: np.ndarray, length: int) -> bool:
    """Whether so many consecutive entries are true."""
    if not hits.any():
        return False
    total = np.concatenate([[0], np.cumsum(hits)])
    return bool((total[length:] - total[:-length] >= length).any())
