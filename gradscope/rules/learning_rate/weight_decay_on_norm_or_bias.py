"""GS305 weight-decay-on-norm-or-bias."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import newest_of
from gradscope.facts.learning_rate import Hyperparameters
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class WeightDecayOnNormOrBias(Rule):
    """A strong weight decay acts where it does no good: on biases and normalisation weights, or inside Adam.

    What it finds
        Parameters with at most one dimension (biases, the weights of normalisation layers) in the same group as
        matrices, at a weight decay of `decay` or more; and Adam (NAdam, RAdam) with a weight decay of `l2` or more,
        where a number of that size is meant for AdamW. As info, once per optimizer.
    Why it matters
        Decay keeps matrices from growing; a bias or a scale that it pulls to zero only loses its fit. Adam divides the
        decay, with the gradient, by the gradient's own size: weights with large gradients are hardly decayed.
    Sick
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    Healed
        decay = [p for p in model.parameters() if p.ndim >= 2]
        rest = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": decay}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)
    What to do
        Give biases and normalisation weights a group of their own, without decay; take AdamW instead of Adam.
    Silent on
        The defaults and customary small values (5e-4 with SGD or Adam, 0.01 with AdamW), where it makes no difference
        that one could measure; groups with less than two matrices (a linear model).
    Known at
        The first step. Thresholds: {thresholds}.
    References
        He et al. 2019, https://arxiv.org/abs/1812.01187 (no decay on biases and normalisation); Loshchilov and Hutter
        2019, https://arxiv.org/abs/1711.05101 (AdamW). 0.05 and more is what recipes with such groups use.
    """

    code = "GS305"
    name = "weight-decay-on-norm-or-bias"
    severity = "info"
    message = "weight_decay={decay} {what}"
    needs = ("HyperparametersProbe",)

    decay: float = 0.05
    l2: float = 0.01

    def check(self, record: Record) -> Iterator[Finding]:
        facts = newest_of(record.facts.of(Hyperparameters))
        for optimizer in record.optimizers:
            settings = {f.group: f.values for f in facts if f.optimizer == optimizer.number}
            decays = {group: _number(values.get("weight_decay")) for group, values in settings.items()}
            if not len(optimizer.rows) or max(decays.values(), default=0) < min(self.decay, self.l2):
                continue
            apart = any(values.get("decoupled_weight_decay") for values in settings.values())
            names = self._small(optimizer, decays)
            if optimizer.kind in ("Adam", "NAdam", "RAdam") and not apart:
                if max(decays.values()) >= self.l2:
                    yield self._adam(record, optimizer, max(decays.values()))
            elif names:
                yield self._norm_or_bias(record, optimizer, names, max(decays.values()))

    def _small(self, optimizer: OptimizerRecord, decays: dict[int, float]) -> tuple[str, ...]:
        """Parameters with at most one dimension that share their decay with matrices."""
        groups = {g for g, decay in decays.items() if decay >= self.decay}
        matrices = [p.group for p in optimizer.parameters if len(p.shape) > 1]
        mixed = {group for group in groups if matrices.count(group) >= 2}
        return tuple(p.name for p in optimizer.parameters if p.group in mixed and len(p.shape) <= 1)

    def _adam(self, record: Record, optimizer: OptimizerRecord, decay: float) -> Finding:
        what = f"is added to the gradient by {optimizer.kind}, which then divides both by the gradient's size"
        cure = f"torch.optim.AdamW(..., weight_decay={decay:g})"
        if optimizer.kind != "Adam":
            cure = f"torch.optim.{optimizer.kind}(..., weight_decay={decay:g}, decoupled_weight_decay=True)"
        return self._told(record, optimizer, decay, what, (), cure)

    def _norm_or_bias(
        self, record: Record, optimizer: OptimizerRecord, names: tuple[str, ...], decay: float
    ) -> Finding:
        what = f"acts on {len(names)} biases and normalisation weights too ({list_names(names)})"
        cure = (
            'groups = [{"params": [p for p in model.parameters() if p.ndim >= 2]}, '
            '{"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]; '
            f"{optimizer.variable} = torch.optim.{optimizer.kind}(groups, ..., weight_decay={decay:g})"
        )
        return self._told(record, optimizer, decay, what, names, cure)

    def _told(
        self, record: Record, optimizer: OptimizerRecord, decay: float, what: str, names: tuple[str, ...], cure: str
    ) -> Finding:
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            evidence={"decay": decay, "what": what, "count": len(names)},
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            advice=(Advice(cure),),
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
