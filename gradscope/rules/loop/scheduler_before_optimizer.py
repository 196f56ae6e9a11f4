"""GS108 scheduler-before-optimizer."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.loop import EarlySchedulerStep
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class SchedulerBeforeOptimizer(Rule):
    """scheduler.step() stands before optimizer.step().

    What it finds
        A scheduler whose `step()` was called by the loop before the optimizer's first step, and again at the same line
        once the optimizer had stepped.
    Why it matters
        The first value of the schedule is never used: every change of the learning rate comes one call too early, and a
        schedule made for this number of steps ends one step short of it. Before PyTorch 1.1 this was the right order,
        so many examples still show it.
    Sick
        for epoch in range(epochs):
            scheduler.step()
            train_one_epoch()
    Healed
        for epoch in range(epochs):
            train_one_epoch()
            scheduler.step()
    What to do
        Call `scheduler.step()` after `optimizer.step()`; once per epoch: at the end of the epoch.
    Silent on
        The step inside a scheduler's own constructor; first steps that GradScaler skips; `step(epoch)` with the epoch
        given; a scheduler wound forward by several steps, or loaded; an optimizer that has stepped before, or was
        loaded; steps on batches of an accumulation; a schedule that begins with lr 0; ReduceLROnPlateau and
        CosineAnnealingWarmRestarts; a single call that never comes again.
    Known at
        The second call of `scheduler.step()`. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate;
        https://github.com/pytorch/pytorch/issues/44511
    """

    code = "GS108"
    name = "scheduler-before-optimizer"
    severity = "warning"
    message = "{scheduler}.step() ran before the first {variable}.step(): {what}"
    needs = ("EarlySchedulerProbe",)

    steps_of_an_epoch: int = 2  # between two calls: the scheduler is stepped per epoch

    def check(self, record: Record) -> Iterator[Finding]:
        known = {o.number: o for o in record.optimizers}
        for fact in newest_of(record.facts.of(EarlySchedulerStep)):
            optimizer = known.get(fact.optimizer)
            if optimizer is None or not len(optimizer.rows):
                continue
            used = float(optimizer.lr[0, 0])
            if used != fact.lr:
                what = f"the schedule's first value, lr {fact.lr:.4g}, was never used; training began with {used:.4g}"
            else:
                what = "every change of lr comes one call too early"
            step = record.site(int(optimizer.scalars["step_site"][0]))
            line = f" (line {step.line})" if step else ""
            if fact.steps >= self.steps_of_an_epoch:
                cure = f"to the end of the epoch, behind the loop that calls {optimizer.variable}.step(){line}"
            else:
                cure = f"behind {optimizer.variable}.step(){line}"
            yield self.finding(
                (int(optimizer.rows[0]), int(optimizer.rows[-1])),
                evidence={
                    "scheduler": fact.scheduler,
                    "variable": optimizer.variable,
                    "what": what,
                    "lr_skipped": fact.lr,
                    "lr_used": used,
                },
                stream=record.stream_of(fact.optimizer),
                optimizer=fact.optimizer,
                where=fact.site,
                label="the optimizer has not stepped yet",
                advice=(Advice(f"move {fact.scheduler}.step() {cure}"),),
            )
