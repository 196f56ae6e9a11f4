"""GS302 learning-rate-too-low."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.advice import change_lr, damped, grid_1_3_10, nearest_1_3_10, peaks, settings
from gradscope.rules.base import Rule
from gradscope.rules.judged import annealed, judged, skipped
from gradscope.rules.steps import Steps, steps_of


@dataclass(frozen=True)
class LearningRateTooLow(Rule):
    """The loss hardly falls, and the steps are so small that it cannot.

    What it finds
        In `rows` steps at a constant or falling lr the loss has fallen by less than a tenth, while each step has moved
        the weights by less than `ratio` of themselves (adaptive optimizers: lr below `share` of the weights' rms, or an
        eps of 0.01 and more that leaves less than `still` of them). So all steps together moved them by a percent at
        the most. A warning where there was much to learn, or the lr is below `nothing` of the rms.
    Why it matters
        The run looks as if the model could not learn. It would only take a hundred times as long.
    Sick
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-7)
    Healed
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    What to do
        Raise the learning rate: for adaptive optimizers to a tenth of the weights' rms, else to where a step moves
        the weights by some thousandths of themselves; then watch the loss.
    Silent on
        Warm-up (an lr that rises); a loss that started low, as in fine-tuning, or that has fallen below that of a blind
        guess since (info at the most); noise that hides a fall; steps too large to be the reason; losses that may rise.
    Known at
        `rows` steps, later under noise. Thresholds: {thresholds}.
    References
        A step of about a thousandth of the weights: A. Karpathy, CS231n notes (update-to-weight ratio). Thresholds:
        `benchmarks/learning_rate.py`, the tuning part.
    """

    code = "GS302"
    name = "learning-rate-too-low"
    severity = "warning"
    message = (
        "lr {lr} is too low: {rows} steps, each of {percent} % of the weights, took the loss from {start} to {now} only"
    )
    explains = ("GS204",)

    rows: int = 100
    kept: float = 0.9
    ratio: float = 1e-4
    share: float = 3e-4
    nothing: float = 3e-6  # nobody's choice, not for fine-tuning either
    still: float = 1e-7
    low_start: float = 0.7
    aligned: float = 0.1
    advised_ratio: float = 3e-3
    advised_share: float = 0.1
    raised: float = 1.02

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in (*judged(record), *annealed(record)):
            found = [self._judge(steps_of(record, stream, o)) for o in stream.optimizers if len(o.rows) >= self.rows]
            if found and all(found):  # of optimizers that step together, all must be too slow
                yield from (finding for finding in found[:1] if finding is not None)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays while the loss is worse than a blind guess, unless the learning rate has been raised."""
        stream = record.stream(finding.stream)
        mine = [o for o in (stream.optimizers if stream is not None else ()) if o.number == finding.optimizer]
        if stream is None or not mine:
            return True
        steps = steps_of(record, stream, mine[0])
        newest = steps.finite[-steps.window(self.rows // 4) :]
        raised = bool(len(steps.lr)) and float(steps.lr[-1]) > self.raised * float(finding.evidence["lr"])
        return raised or not (len(newest) > 0 and float(newest.mean()) > steps.chance)

    def _judge(self, steps: Steps) -> Finding | None:
        losses, lr = steps.finite, steps.lr
        if len(losses) < self.rows or not steps.level > 0 or (lr >= 0.5 * lr.max()).sum() < self.rows // 2:
            return None  # what a schedule has brought down at once is another matter
        window = steps.window(self.rows // 4)
        if len(losses) < 2 * window:
            return None
        start, now = float(losses[:window].mean()), float(losses[-window:].mean())
        if not self.kept * start < now < 1.1 * start:
            return None
        if not lr.max() > 0:
            return self._finding(steps, start, now, 0.0, "warning")
        ratio = steps.ratio()
        tiny = steps.share < self.share if steps.adaptive else ratio < self.ratio
        warming = lr[: -self.rows // 2].min(initial=lr[-1]) * self.raised < lr[-1]
        if damped(steps.record, steps.optimizer) and ratio < self.still and not warming:
            return self._finding(steps, start, now, ratio, "warning")
        if not 0 < ratio or not tiny or warming:
            return None
        high = steps.started_high(self.low_start, self.aligned) or steps.adaptive and steps.share < self.nothing
        return self._finding(steps, start, now, ratio, "warning" if high else "info")

    def _finding(self, steps: Steps, start: float, now: float, ratio: float, severity: str) -> Finding:
        lr, optimizer = float(steps.lr.max()), steps.optimizer
        if not lr > 0:
            advice: tuple[Advice, ...] = (Advice("give the optimizer an lr above 0 (a division of integers gives 0)"),)
        elif damped(steps.record, optimizer) and ratio < self.still:
            eps = settings(steps.record, optimizer)["eps"]
            text = f"set eps to 1e-8 (it is {eps:g}): the gradients are divided by it, not by their size"
            advice = (Advice(text, "set-eps", {"optimizer": optimizer.number, "from": eps, "to": 1e-8}),)
        elif steps.adaptive:
            to = nearest_1_3_10(self.advised_share * lr / steps.share)
            advice = change_lr(optimizer, peaks(steps.record, optimizer), to)
        else:
            to = grid_1_3_10(lr * self.advised_ratio / ratio)
            advice = change_lr(optimizer, peaks(steps.record, optimizer), to)
        return self.finding(
            (int(steps.rows[0]), int(steps.rows[-1])),
            severity=severity,
            evidence={
                "lr": lr,
                "rows": len(steps.finite),
                "percent": 100 * ratio,
                "start": start,
                "now": now,
                "ratio": ratio,
                "share": steps.share,
            },
            stream=steps.stream.number,
            optimizer=optimizer.number,
            where=steps.record.site(int(optimizer.scalars["step_site"][-1])),
            label="these steps",
            advice=advice,
        )
