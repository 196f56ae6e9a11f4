"""GS603 repeated-batch."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.inputs import BatchLooks
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class _Why:
    text: str
    advice: str
    severity: str


@dataclass(frozen=True)
class RepeatedBatch(Rule):
    """Every step is made on the same batch, although there are others.

    What it finds
        Inputs and targets that were the same, to the bit, in each of `looks` rows looked at (a sample of their values),
        and why: a new iterator is begun for every step and gives its first batch; the data set gives the same samples
        whatever the index; the loader goes on and the model is given another, old variable; without a loader:
        torch.manual_seed is called with the same seed before each batch is drawn, in `seeded` of the steps; or the loop
        takes the same rows of a larger array anew in each step, as many as its own number for the size of a batch says.
        As info: one batch was taken from a loader once, and trained on for `rows_once` steps, as one does to check a
        model.
    Why it matters
        The loss falls, and nothing is learned but these few samples.
    Sick
        for step in range(1000):
            x, y = next(iter(loader))  # the first batch, each time
    Healed
        for epoch in range(10):
            for x, y in loader:
                ...
    What to do
        Iterate over the loader itself, or begin its iterator once, before the loop.
    Silent on
        Full batches; loaders of one batch; `next(iter(loader))` of one that shuffles; the same batch for a few steps
        (PPO, adversarial training, accumulation, closures); batches that are the same only in part (noise, labels of
        ones); constant inputs whose targets are not seen; no loader of torch's, no seed in the loop, and a batch that a
        variable keeps from step to step, or of which the loop has no four times as many rows on the CPU, or no
        `batch_size`; seeds after which nothing is drawn before the model is called (dropout). As info where a library
        begins the iterators (overfit_batches of a trainer), and where the data set is one sample.
    Known at
        Row 66, by looks at rows 0-3 and three at each power of two from 64; the end of a run of `rows` steps.
        Thresholds: {thresholds}.
    References
        https://docs.pytorch.org/docs/stable/data.html#single-and-multi-process-data-loading
    """

    code = "GS603"
    name = "repeated-batch"
    severity = "warning"
    message = "every step was made on the same batch of {size} (in all {looks} rows looked at): {why}"

    looks: int = 6  # of seven: short last batches do not count
    looks_ended: int = 3
    rows: int = 16
    rows_once: int = 60
    seeded: float = 0.9

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in newest_of(record.facts.of(BatchLooks)):
            if not isinstance(fact, BatchLooks) or not fact.equal or fact.steps < self.rows:
                continue
            if fact.looks < (self.looks_ended if record.meta.ended else self.looks):
                continue
            why = self._why(fact)
            if why is not None:
                yield self._finding(record, fact, why)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once another batch was seen."""
        return not any(
            fact.equal for fact in newest_of(record.facts.of(BatchLooks)) if fact.optimizer == finding.optimizer
        )

    def _why(self, fact: BatchLooks) -> _Why | None:
        if not fact.begun:
            return self._seeded(fact) or _taken(fact)
        of = f" of {fact.batches}" if fact.batches else ""
        if not fact.advances:
            if fact.steps < self.rows_once and fact.given == 1 or fact.batches == 1:
                return None
            if fact.given > 1:
                return _anew(fact, of)
            text = f"it was taken once, the loader's first{of} batches"
            return _Why(text, "if this is no check of the model: `for x, y in loader:`", "info")
        if fact.alike is False:
            if not fact.complete:
                return None
            text = f"the loader has given {fact.given} batches meanwhile, and the model was given none of them"
            return _Why(text, "give the model the variables of the loop: `for x, y in loader: model(x)`", "warning")
        if fact.alike is None or fact.batches == 1 or fact.ended >= fact.begun - 1 > 0 and fact.most == 1:
            return None
        if fact.most == 1:
            return _anew(fact, of)
        text = f"the loader gives the same samples in every batch ({fact.given} so far)"
        text_ = "look at __getitem__ of the data set: does it use its index? Are the rows all the same?"
        return _Why(text, text_, "warning" if fact.samples > 1 else "info")

    def _seeded(self, fact: BatchLooks) -> _Why | None:
        if fact.seeded < self.seeded * fact.steps or fact.seeded == 0:
            return None
        text = f"torch.manual_seed was called {fact.seeded} times with the same seed, and it was drawn anew after that"
        return _Why(text, "seed once, before the loop, or draw from a torch.Generator made before it", "warning")

    def _finding(self, record: Record, fact: BatchLooks, why: _Why) -> Finding:
        optimizer = next(o for o in record.optimizers if o.number == fact.optimizer)
        model = fact.advances and fact.alike is False or fact.site is None
        where = record.site(int(optimizer.scalars["backward_site"][-1])) if model else fact.site
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            severity=why.severity,
            evidence={
                "size": f"{fact.samples} sample{'s' * (fact.samples != 1)}",
                "looks": fact.looks,
                "why": why.text,
                "begun": fact.begun,
                "given": fact.given,
                "batches": fact.batches,
                **({"seeded": fact.seeded} if fact.seeded else {}),
                **({"pool": fact.pool, "rows": fact.rows} if not fact.begun and not fact.seeded else {}),
            },
            stream=record.stream_of(fact.optimizer),
            optimizer=fact.optimizer,
            where=where,
            label="always the same batch",
            advice=(Advice(why.advice),),
        )


def _anew(fact: BatchLooks, of: str) -> _Why:
    text = f"{fact.begun} iterators were begun over the loader, and each gave its first batch{of}"
    text += "" if fact.advances else f", for {fact.steps / fact.given:.3g} steps"
    text_ = "iterate over the loader, `for x, y in loader:`, or move `iter(loader)` out of the loop"
    return _Why(text, text_, "warning" if fact.batches and not fact.library else "info")


def _taken(fact: BatchLooks) -> _Why | None:
    if not fact.pool or not fact.size:
        return None
    text = f"each step takes the same {fact.samples} ({fact.size}) of the {fact.rows} rows of {fact.pool} anew"
    text_ = f"draw other rows for each step: torch.randint(len({fact.pool}), ({fact.size},)), or the next ones of a "
    return _Why(text, text_ + f"torch.randperm(len({fact.pool})) made for each epoch", "warning")
