"""GS501 dead-activations."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import FactEntry, newest_of
from gradscope.facts.model import WINDOWS, Firing
from gradscope.facts.operations import BlockedGradient
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import Record, Stream
from gradscope.rules.advice import decade_down
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.standing import Standing, lately, standing, unseen
from gradscope.rules.unrelated import Unrelated


@dataclass(frozen=True)
class Dead:
    """A layer of which `share` of the units has not fired since row `since`, for `samples` samples."""

    newest: Firing
    first: Firing
    share: float
    since: int
    samples: int

    @property
    def born(self) -> float:
        """The share that did not fire in the first row looked at."""
        return self.first.silent[0] / self.first.units


@dataclass(frozen=True)
class DeadActivations(Rule):
    """Most units of a ReLU layer never fire, for any sample, over many batches, and the loss is poor.

    What it finds
        ReLU, ReLU6, Hardswish, GELU or clamp(min=0) of which `most` of the units have not fired for any sample of the
        newest rows looked at (`looks`, of half of `samples` samples; of a whole layer three, of `samples`), while the
        loss is above `poor` of what it is worth to know nothing; or `half` of them, while it is above `stuck` of that,
        and does not come down from far above; or `born_dead` of them from the first row on, by biases of `far_below` in
        the mean, while it is above `held_back` of that.
        As info: `half` of them, in a run that trains all the same.
    Why it matters
        A unit that is 0 for every sample gets no gradient: it stays dead. What is left is a smaller network, or, where
        a whole layer is dead, one whose output does not depend on its input.
    Sick
        nn.init.constant_(layer.bias, -3.0)  # every unit starts below zero for every sample
    Healed
        nn.init.zeros_(layer.bias)
    What to do
        Units that were alive at first were killed by too long steps: lower the learning rate. Units that were born
        dead want a bias of 0 and weights of the usual size. nn.LeakyReLU() and nn.GELU() let a gradient through.
    Silent on
        Natural sparsity: 60 % of zeros and more is normal, as long as each unit fires for some samples; dead units in a
        run that trains well (info); losses that may rise; models that were good from the start; less than `most`, where
        labels that have nothing to do with the inputs hold the loss (GS204). A clamp() that cuts off all: GS404 tells.
    Known at
        About 67 rows (units are looked at in rows 0-3, and three times at each power of two from 64), under compile
        and activation checkpointing never. Thresholds: {thresholds}.
    References
        Lu et al., Dying ReLU and initialization (2019). Others warn at 50 % (SageMaker Debugger) to 70 % (AutoTrainer)
        of zeros in single batches: on healthy networks too, so a unit must be silent for all of them here.
    """

    code = "GS501"
    name = "dead-activations"
    severity = "warning"
    message = (
        "{dead} of {units} units of the {function} after {place} have not fired since step {since}, for none of the "
        "{samples} samples last looked at, and the loss is at {now}{reference}"
    )
    explains = ("GS204", "GS302", "GS404")

    most: float = 0.9
    half: float = 0.5
    poor: float = 0.3
    stuck: float = 0.97  # noisy data holds a loss near a guess, too
    began: float = 0.8  # of where it began: below, it comes down
    looks: int = 6
    samples: int = 256
    units: int = 4  # of fewer, some are soon dead, or all: a squeeze to two units is a gate that stays as it is
    rows: int = 50
    bias: float = -0.2
    born_dead: float = 0.75
    far_below: float = -1.0  # mean bias
    held_back: float = 0.25
    all_stuck: float = 0.9

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            stands = standing(record, stream)
            if stands is None or stands.rows < self.rows or stands.rising:
                continue
            numbers = {o.number for o in stream.optimizers}
            cut = (f for f in newest_of(record.facts.of(BlockedGradient)) if f.optimizer in numbers)
            blocked = any(fact.operation == "clamp" for fact in cut)
            entries = [e for e in record.facts.of(Firing) if getattr(e.newest, "optimizer", -1) in numbers]
            entries = [e for e in entries if not (blocked and getattr(e.newest, "function", "") == "clamp")]
            found = [dead for e in entries if (dead := self._dead(e, stands)) is not None]
            if Unrelated().find(record, stream) is not None:
                found = [dead for dead in found if dead.share >= self.most]  # the loss is stuck for another reason
            if found:
                yield self._finding(record, stream, stands, found)

    def not_judged(self, record: Record) -> str:
        return unseen(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Taken back once most units fire again, or the loss is far below."""
        stream = record.stream(finding.stream)
        stands = None if stream is None else standing(record, stream)
        return stands is not None and stands.share < 0.8 * self.poor

    def _dead(self, entry: FactEntry, stands: Standing) -> Dead | None:
        newest, first = entry.newest, entry.examples[0]
        assert isinstance(newest, Firing) and isinstance(first, Firing)
        if not lately(newest.row, stands.rows):  # looked at no more
            return None
        half, units = self.samples // 2, newest.units
        for window, looks, samples in ((1, 3, self.samples), (2, self.looks, half), (len(WINDOWS) - 1, 9, half)):
            share, seen = newest.silent[window] / units, newest.samples[window]
            whole = share == 1 and seen >= (samples if looks < self.looks else self.samples // 8)
            if entry.count >= looks and (whole or looks >= self.looks and seen >= samples):
                if not whole and (share < self.half or units < self.units):
                    return None
                return Dead(newest, first, share, min(self._since(entry), newest.since[window]), seen)
        return None

    def _since(self, entry: FactEntry) -> int:
        """The first row from which on, in each one that is known, so many did not fire."""
        since = entry.last
        for fact in reversed(entry.examples):
            if not isinstance(fact, Firing) or fact.silent[0] < self.half * fact.units:
                break
            since = fact.row
        return since

    def _severity(self, dead: Dead, stands: Standing) -> str:
        if stands.trained_before:
            return "info"
        if dead.share == 1.0 and stands.share >= self.all_stuck:
            return "warning"
        if dead.share >= self.most and stands.share >= self.poor and dead.newest.units >= self.units:
            return "warning"
        if dead.share >= self.born_dead <= dead.born and dead.first.bias <= self.far_below:
            return "warning" if stands.chance and stands.share >= self.held_back else "info"
        comes_down = stands.now > 1.2 * stands.chance and stands.now < self.began * stands.start
        return "warning" if stands.chance and stands.share >= self.stuck and not comes_down else "info"

    def _finding(self, record: Record, stream: Stream, stands: Standing, found: list[Dead]) -> Finding:
        severities = [self._severity(dead, stands) for dead in found]
        severity = "warning" if "warning" in severities else "info"
        counted = [dead for dead, its in zip(found, severities) if its == severity]
        worst = max(counted, key=lambda dead: dead.share)
        optimizer = stream.optimizers[0]
        against = f" (a blind guess: {stands.chance:.4g})" if stands.chance else f" (it began at {stands.start:.4g})"
        return self.finding(
            (min(dead.since for dead in counted), int(stream.rows[-1])),
            severity=severity,
            evidence={
                "dead": round(worst.share * worst.newest.units),
                "units": worst.newest.units,
                "function": worst.newest.function,
                "place": worst.newest.place,
                "samples": worst.samples,
                "since": worst.since,
                "now": stands.now,
                "reference": against,
                "share": worst.share,
                "share_at_first": worst.born,
                "active": worst.newest.active,
                "layers": [dead.newest.place for dead in counted],
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=tuple(dead.newest.place for dead in counted),
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="units of this model are dead",
            advice=self._advice(record, stream, worst, counted),
        )

    def _advice(self, record: Record, stream: Stream, worst: Dead, found: list[Dead]) -> tuple[Advice, ...]:
        low = [dead for dead in found if dead.first.bias <= self.bias]
        slope = Advice(f"nn.LeakyReLU() or nn.GELU() instead of {worst.newest.function} lets a gradient through")
        if worst.born < 0.5 * worst.share:
            return (*decade_down(record, stream.optimizers[0], "the steps have killed them: "), slope)
        if low:
            which = list_names(tuple(f"{dead.newest.place}.bias" for dead in low))
            return (Advice(f"start {which} at 0: nn.init.zeros_ (the mean is {low[0].first.bias:.3g})"), slope)
        return (slope, Advice("start the weights with nn.init.kaiming_normal_, and give it inputs near mean 0, std 1"))
