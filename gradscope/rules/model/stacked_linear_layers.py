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

_FIRST = 8  # losses


@dataclass(frozen=True)
class StackedLinearLayers(Rule):
    """A linear layer is fed straight into another: together they are one linear layer.

    What it finds
        The graph of the loss: a Linear whose input is the output of a Linear, a Conv whose input is that of a Conv,
        with nothing in between but shapes. As info; as a warning where nothing in the whole model is other than linear,
        and the loss has stayed at what it is worth to know nothing for `rows` rows in which the weights moved; of a
        cross entropy, where it falls no more (by less than `fall` in a quarter of the run, noise allowed for) above
        `half` of that. Where dropout or batch normalisation is between the layers, activations have been forgotten:
        there squared errors count, too, and noise up to `noise` of the loss is not held against it.
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
        for squared errors of nothing but layers: there a deep linear network is studied for its own sake.
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
    noise: float = 0.2  # of the loss

    def check(self, record: Record) -> Iterator[Finding]:
        for optimizer in record.optimizers:
            entries = [e for e in record.facts.of(StackedLinear) if _of(e).optimizer == optimizer.number]
            if not entries or not len(optimizer.rows):
                continue
            whole = all(_of(entry).whole for entry in entries)
            level = self._stuck(record, optimizer, [_of(entry) for entry in entries]) if whole else None
            wide = [entry for entry in entries if not _of(entry).narrow]
            plain = [e for e in wide if not _of(e).between or whole and _usual(optimizer, [_of(e)])]
            if level is not None:
                yield self._finding(record, optimizer, entries, level)
            elif plain:
                yield self._finding(record, optimizer, plain, None)

    def over(self, finding: Finding, record: Record) -> bool:
        """What the graph showed stays; the warning until the loss has come down."""
        level = float(finding.evidence["level"])
        return level > 0 and came_down(record, finding.stream, level)

    def _stuck(self, record: Record, optimizer: OptimizerRecord, facts: Sequence[StackedLinear]) -> Level | None:
        narrow = any(fact.narrow for fact in facts)
        for stream in judged(record):
            if optimizer in stream.optimizers and look(stream.optimizers).path > self.path:
                steps = steps_of(record, stream, optimizer)
                stopped = None if narrow else self._stopped(steps, _usual(optimizer, facts))
                return stuck(steps, self.rows, self.kept) or stopped
        return None

    def _stopped(self, steps: Steps, usual: bool) -> Level | None:
        """Where a loss has fallen, and falls no more, far above what it costs where lines tell: a cross entropy; a
        squared error, too, in networks with what networks usually have, for which noise need not be ruled out either.
        """
        losses, lr, chance = steps.losses, steps.lr, guess(steps.record, steps.stream)
        numbers = {o.number for o in steps.stream.optimizers}
        functions = [f for f in newest_of(steps.record.facts.of(LossFunction)) if f.optimizer in numbers]
        if not functions or not chance or not all(_counts(function, usual) for function in functions):
            return None
        if len(losses) < self.rows or not np.isfinite(losses).all() or losses[:2].mean() < 0.8 * chance:
            return None
        if not lr[-1] > 0.1 * lr.max() or lr[-1] > 1.02 * lr[: -len(lr) // 4].max():
            return None
        quarter = len(losses) // 4
        before, now = losses[-2 * quarter : -quarter], losses[-quarter:]
        noise = 2 * math.sqrt((before.var() + now.var()) / quarter)
        fall = float(before.mean() - now.mean())
        stopped = fall + noise <= self.fall * now.mean()
        if usual:  # as far as is known, if that is known well
            stopped = stopped or fall <= self.fall * now.mean() and noise <= self.noise * now.mean()
        level = max(chance, float(losses[:_FIRST].mean())) if usual else chance  # of weighted classes
        if not stopped:
            return None
        if not self.half * level < now.mean() < level:
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


def _usual(optimizer: OptimizerRecord, facts: Sequence[StackedLinear]) -> bool:
    """Whether it has what is put into networks that are meant to have activations.

    Dropout between two layers, of which the first makes less of what it gets, may be in a table of words.
    """
    dropout = [fact for fact in facts if fact.between == "Dropout"]
    shapes = [optimizer.parameters[fact.first].shape for fact in dropout]
    widens = any(len(shape) == 2 and shape[0] >= shape[1] for shape in shapes)
    return any(fact.between == "BatchNorm" for fact in facts) or bool(dropout) and (widens or len(facts) > 1)


def _counts(function: LossFunction, usual: bool) -> bool:
    return function.function.endswith("cross-entropy") or usual and function.alone == "squared error"


def _of(entry: FactEntry) -> StackedLinear:
    fact = entry.examples[0]
    assert isinstance(fact, StackedLinear)
    return fact


def _layer(optimizer: OptimizerRecord, column: int) -> str:
    name = optimizer.parameters[column].name if column < len(optimizer.parameters) else ""
    return name.rpartition(".")[0] or name
