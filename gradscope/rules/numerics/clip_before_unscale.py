"""GS702 clip-before-unscale."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import Point
from gradscope.facts.gradients import Clipping
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.advice import settings
from gradscope.rules.base import Rule
from gradscope.rules.norms import clips, norms


@dataclass(frozen=True)
class ClipBeforeUnscale(Rule):
    """Gradients are clipped while GradScaler's scale is still in them, and divided by it afterwards.

    What it finds
        A line that clips, in `share` of its calls at least, gradients of a scaled loss that `unscale_` has not divided
        yet, and by which the steps come to a `factor`-th or less of what the same clip leaves of true gradients.
    Why it matters
        The norms are 65536 times what they seem, so nearly all gradients are cut to max_norm; then the step divides
        them by the scale. SGD stands still. What Adam makes of it changes with the scale.
    Sick
        scaler.scale(loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
    Healed
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
    What to do
        Call `scaler.unscale_(optimizer)` after the last backward and before the clip, once for each optimizer;
        `scaler.step` knows then that it is done.
    Silent on
        unscale_ before the clip, with accumulation or several optimizers too; a scaler that is not enabled; a scale of
        1; a max_norm that is multiplied by the scale (above a `meant`-th of it); gradients that are too small to be
        cut even so. Adaptive optimizers, which divide by the gradient's size, are info as long as it is far above
        their eps (`above_eps` times).
    Known at
        `calls` calls. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping. `factor`: a clip that is meant to cut
        leaves a tenth of most gradients (Pascanu et al. 2013 set it at the mean norm or above).
    """

    code = "GS702"
    name = "clip-before-unscale"
    severity = "warning"
    message = (
        "clipping at {limit} came before unscale_ in {scaled} of {calls} calls looked at: gradients still multiplied "
        "by {scale} are cut, and divided by it afterwards. The steps use a norm of {used}, where backward made {made}"
    )
    needs = ("ClippingProbe", "norms")
    explains = (
        "GS203", "GS204", "GS205", "GS206", "GS301", "GS302", "GS303", "GS304", "GS403", "GS404", "GS405", "GS701",
    )  # fmt: skip

    calls: int = 3
    share: float = 0.5
    factor: float = 10.0
    meant: float = 64.0
    above_eps: float = 10.0

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in clips(record):
            if fact.scaled >= self.calls and fact.scaled >= self.share * fact.calls and fact.limit < math.inf:
                optimizer = next((o for o in record.optimizers if o.number == fact.optimizer), None)
                found = None if optimizer is None else self._judge(record, optimizer, fact)
                if found is not None:
                    yield found

    def _judge(self, record: Record, optimizer: OptimizerRecord, fact: Clipping) -> Finding | None:
        measured = norms(optimizer)
        both = (measured.made > 0) & (measured.used > 0)
        if not both.any() or not fact.limit > 0 or fact.limit > max(fact.scale / self.meant, self.meant):
            return None
        made, used = (float(np.median(values[both])) for values in (measured.made, measured.used))
        if made < self.factor * used * max(1.0, self._size(optimizer, made, fact) / fact.limit):
            return None
        adaptive = self._does_not_matter(record, optimizer, used)
        text = f"call scaler.unscale_({optimizer.variable}) before line {fact.site.line}"
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            severity="info" if adaptive else "warning",
            evidence={
                "limit": fact.limit,
                "scaled": fact.scaled,
                "calls": fact.calls,
                "scale": fact.scale,
                "used": used,
                "made": made,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            where=fact.site,
            label="clips gradients that are still scaled",
            advice=(Advice(text, "unscale-before-clip", {"optimizer": optimizer.number, "line": fact.site.line}),),
        )

    @staticmethod
    def _size(optimizer: OptimizerRecord, made: float, fact: Clipping) -> float:
        """What the clip compares with its limit, of true gradients: the norm, or values (their root mean square)."""
        if fact.kind == "norm" and fact.norm_type == 2:
            return made
        sizes = np.sqrt([max(1, math.prod(p.shape)) for p in optimizer.parameters])
        per = np.nan_to_num(optimizer.grad_norm(Point.AFTER_BACKWARD)).max(axis=0, initial=0.0)
        return float((per / sizes).max(initial=0.0))

    def _does_not_matter(self, record: Record, optimizer: OptimizerRecord, used: float) -> bool:
        """Whether the optimizer divides by the gradient's size, which is far above what it adds to it."""
        eps = settings(record, optimizer).get("eps")
        values = sum(math.prod(p.shape) for p in optimizer.parameters)
        return isinstance(eps, float) and used / math.sqrt(max(1, values)) > self.above_eps * eps
