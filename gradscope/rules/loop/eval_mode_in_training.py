"""GS110 eval-mode-in-training."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loop import EvalModeSteps
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class EvalModeInTraining(Rule):
    """The model is trained while it is in eval mode.

    What it finds
        Steps of an optimizer at which the model that the loop calls has `training` False, and all its Dropout and
        BatchNorm layers too: 10 in a row, or all steps of a short run. Where one optimizer trains several models and
        the others are in train mode: one on which `eval()` was last called as often as on them (by a validation of
        all), and that was in train mode before, or whose BatchNorm has never counted anything.
    Why it matters
        Dropout drops nothing, so the model overfits sooner; BatchNorm uses and keeps the statistics it was loaded with
        (or 0 and 1), which then fit neither the new data nor the new weights. Nothing complains. It comes of a
        `model.eval()` for a validation that no `model.train()` follows, or of models that are loaded in eval mode.
    Sick
        for epoch in range(epochs):
            train_one_epoch(model)
            model.eval()
            validate(model)
    Healed
        for epoch in range(epochs):
            model.train()
            train_one_epoch(model)
            model.eval()
            validate(model)
    What to do
        Call `model.train()` at the head of the loop over epochs.
    Silent on
        Frozen batch normalisation, or parts in eval mode, inside a model in train mode; models of which less than half
        is trained (a head on a frozen backbone, adapters), and those that no optimizer holds (teachers, perceptual
        losses, attacks); copies that are fitted in eval mode (to a task, at test time) beside a model of their class
        that is trained in train mode; models without such layers; a model that is put into eval mode by itself, beside
        one in train mode that the same optimizer trains; LBFGS, whose line search needs a loss without dropout.
    Known at
        10 steps, or 5 at the end of the run. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.train
    """

    code = "GS110"
    name = "eval-mode-in-training"
    severity = "warning"
    message = "{model} was in eval mode at {which} steps{since}: {layers} worked as in validation{why}"
    needs = ("EvalModeProbe",)
    explains = ("GS901",)

    steps: int = 10
    steps_at_the_end: int = 5

    def check(self, record: Record) -> Iterator[Finding]:
        facts = [f for f in newest_of(record.facts.of(EvalModeSteps)) if self._sick(f, record.meta.ended)]
        for optimizer in record.optimizers:
            mine = [f for f in facts if f.optimizer == optimizer.number]
            if mine and "LBFGS" not in optimizer.kind and len(optimizer.rows):
                yield self._finding(record, optimizer, mine)

    def _sick(self, fact: EvalModeSteps, ended: bool) -> bool:
        whole = ended and fact.evaluating == fact.steps and fact.evaluating >= self.steps_at_the_end
        return whole or fact.evaluating >= self.steps

    def _finding(self, record: Record, optimizer: OptimizerRecord, facts: Sequence[EvalModeSteps]) -> Finding:
        """One for all the stretches, told by the first of them."""
        fact, last = facts[0], facts[-1]
        steps, every = sum(f.evaluating for f in facts), len(facts) == 1 and fact.evaluating == fact.steps
        at = min(int(np.searchsorted(optimizer.rows, fact.since)), len(optimizer.rows) - 1)
        if fact.trained:
            why = f"; before, it was in train mode: probably the {fact.model}.eval() of a validation was never undone"
            cure = f"call {fact.model}.train() after each validation, or at the head of the loop over epochs"
        else:
            why, cure = "", f"call {fact.model}.train() before the loop, and after each validation"
        return self.finding(
            (fact.since, last.row),
            evidence={
                "model": fact.model,
                "which": f"all {steps}" if every else str(steps),
                "steps": steps,
                "since": "" if every else f" since step {fact.since}",
                "layers": fact.layers,
                "why": why,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["step_site"][at])),
            label="trains a model that is in eval mode",
            advice=(Advice(cure),),
        )
