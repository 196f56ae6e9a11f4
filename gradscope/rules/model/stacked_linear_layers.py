"""GS506 stacked-linear-layers."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np

from gradscope.facts.fact import FactEntry, newest_of
from gradscope.facts.loss import LossFunction
from gradscope.facts.operations import StackedLinear
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule
from gradscope.rules.chance import guess
from gradscope.rules.flow import look
from gradscope.rules.judged import judged
from gradscope.rules.standing import Level, came_down, stuck
from gradscope.rules.steps import Steps, steps_of


@dataclass(frozen=True)
class StackedLinearLayers(Rule):
    """A linear layer is fed straight into another: together they are one linear layer.

    What it finds
        The graph of the loss: a Linear whose input is the output of a Linear, a Conv whose input is that of a Conv,
        with nothing in between but shapes. As info; as a warning where nothing in the whole model is other than linear,
        and the loss has stayed at what it is worth to know nothing for `rows` rows in which the weights moved; of a
        cross entropy, where it falls no more (by less than `fall` in a quarter of the run, noise allowed for) above
        `half` of that.
    Why it matters
        Without a nonlinearity between them two layers say no more than one. A model without any draws straight lines.
    Sick
        model = nn.Sequential(nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 2))
    Healed
        model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    What to do
        Put an activation between them, or make one of them.
    Silent on
        Bottlenecks (fewer features between the two than on both sides: low-rank adapters, factorised embeddings,
        autoencoders); depthwise and grouped convolutions; attention's projections; an output that is used by itself,
        too; models with one layer. Whole linear models whose loss falls get the info only, so do those
        for squared errors that fall no more: there a deep linear network is studied for its own sake.
    Known at
        The first step; the warning at `rows`. Thresholds: {thresholds}.
    References
        Saxe, McClelland and Ganguli 2014, https://arxiv.org/abs/1312.6120 (what deep linear networks do, and do not).
    """

    code = "GS506"
    name = "stacked-linear-layers"
    severity = "info"
    message = "{what}{stays}"
    needs = ("StackedLinearProbe",)
    explains = ("GS204", "GS302", "GS403")

    rows: int = 200
    kept: float = 0.97  # of the loss at the start
    path: float = 1.0  # sum of all updates, in sizes of the weights
    half: float = 0.5  # of a guess
    fall: float = 0.05  # from the last quarter but one to the last, of the loss

    def check(self, record: Record) -> Iterator[Finding]:
        for optimizer in record.optimizers:
            entries = [e for e in record.facts.of(StackedLinear) if _of(e).optimizer == optimizer.number]
            if not entries or not len(optimizer.rows):
                continue
            whole = all(_of(entry).whole for entry in entries)
            level = self._stuck(record, optimizer, any(_of(entry).narrow for entry in entries)) if whole else None
            plain = [entry for entry in entries if not _of(entry).narrow and not _of(entry).between]
            if level is not None:
                yield self._finding(record, optimizer, entries, level)
            elif plain:
                yield self._finding(record, optimizer, plain, None)

    def over(self, finding: Finding, record: Record) -> bool:
        """What the graph showed stays; the warning until the loss has come down."""
        level = float(finding.evidence["level"])
        return level > 0 and came_down(record, finding.stream, level)

    def _stuck(self, record: Record, optimizer: OptimizerRecord, narrow: bool) -> Level | None:
        for stream in judged(record):
            if optimizer in stream.optimizers and look(stream.optimizers).path > self.path:
                steps = steps_of(record, stream, optimizer)
                return stuck(steps, self.rows, self.kept) or (None if narrow else self._stopped(steps))
        return None

    def _stopped(self, steps: Steps) -> Level | None:
        """Where a cross entropy has fallen, and falls no more, far above what classes that a line parts cost."""
        losses, lr, chance = steps.losses, steps.lr, guess(steps.record, steps.stream)
        numbers = {o.number for o in steps.stream.optimizers}
        functions = [f for f in newest_of(steps.record.facts.of(LossFunction)) if f.optimizer in numbers]
        if not functions or any(not f.function.endswith("cross-entropy") for f in functions) or not chance:
            return None
        if len(losses) < self.rows or not np.isfinite(losses).all() or losses[:2].mean() < 0.8 * chance:
            return None
        if not lr[-1] > 0.1 * lr.max() or lr[-1] > 1.02 * lr[: -len(lr) // 4].max():
            return None
        quarter = len(losses) // 4
        before, now = losses[-2 * quarter : -quarter], losses[-quarter:]
        noise = math.sqrt((before.var() + now.var()) / quarter)
        falls = before.mean() - now.mean() + 2 * noise > self.fall * now.mean()
        if falls or not self.half * chance < now.mean() < chance:
            return None
        return Level(float(now.mean()), float(now.mean()), quarter * 2)

    def _finding(
        self, record: Record, optimizer: OptimizerRecord, entries: Sequence[FactEntry], level: Level | None
    ) -> Finding:
        facts = [_of(entry) for entry in entries]
        columns = sorted({fact.first for fact in facts} | {fact.second for fact in facts})
        names = tuple(optimizer.parameters[i].name for i in columns if i < len(optimizer.parameters))
        layers = tuple(name.rpartition(".")[0] or name for name in names)
        pairs = [f"{_layer(optimizer, fact.first)} into {_layer(optimizer, fact.second)}" for fact in facts]
        if level is None:
            what = f"linear layers are fed straight into linear layers: {list_names(tuple(pairs))}"
            stays, cure = "", f"put an activation, such as nn.ReLU() between {pairs[0].replace(' into ', ' and ')}"
        else:
            what = f"the whole model is linear ({len(names)} layers: {list_names(layers)})"
            stays = f", and the loss has stayed at {level.now:.4g} for {level.rows} steps"
            cure = "put activations, such as nn.ReLU() between the layers"
        return self.finding(
            (entries[0].first, int(optimizer.rows[-1])),
            severity=None if level is None else "warning",
            evidence={"what": what, "stays": stays, "pairs": pairs, "level": 0.0 if level is None else level.level},
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            where=facts[0].site,
            label="the gradient comes by here",
            advice=(Advice(cure + ", or make one layer of them"),),
        )


def _of(entry: FactEntry) -> StackedLinear:
    fact = entry.examples[0]
    assert isinstance(fact, StackedLinear)
    return fact


def _layer(optimizer: OptimizerRecord, column: int) -> str:
    name = optimizer.parameters[column].name if column < len(optimizer.parameters) else ""
    return name.rpartition(".")[0] or name
