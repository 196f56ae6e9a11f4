"""GS304 weight-decay-dominates."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import Point
from gradscope.facts.fact import newest_of
from gradscope.facts.learning_rate import Hyperparameters
from gradscope.findings import Advice, Finding
from gradscope.record.blocks import Blocks
from gradscope.record.record import Array, OptimizerRecord, Record, Stream
from gradscope.rules.advice import grid_1_3_10
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.middle import median

_APART = ("AdamW", "Muon")  # decay by lr * weight_decay * w, apart from the gradient
_ADAPTIVE = ("Adam", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")  # decay is part of the gradient,
_PLAIN = ("SGD", "ASGD")  # here too


@dataclass(frozen=True)
class _Decay:
    """What decay does to the matrices of an optimizer, measured row by measured row.

    `weights` # (measured,) their norm at `rows`; `ratio` # (measured,) the decay against the gradient, or where it acts
    `apart` against the whole update (NaN where not measured); `settings` the weight decay of each group that has one.
    """

    rows: Array
    weights: Array
    ratio: Array
    settings: dict[int, float]
    apart: bool

    def left(self, row: int) -> float:
        """The share of the norm that is left; where that was not measured for long, as it went until then."""
        share, seen = self.weights[-1] / self.weights[0], self.rows[-1] - self.rows[0]
        late = row - self.rows[0] >= 2 * seen > 0
        return float(min(share, share ** ((row - self.rows[0]) / seen)) if late else share)

    def typical(self, share: float) -> float:
        """The median ratio while more than this share of the norm was left (at the end: over all rows)."""
        below = self.weights <= share * self.weights[0]
        until = max(3, int(np.argmax(below)) + 1) if below.any() else len(below)
        known = self.ratio[:until][np.isfinite(self.ratio[:until])]
        return median(known) if len(known) else 0.0


@dataclass(frozen=True)
class WeightDecayDominates(Rule):
    """Weight decay, not the gradient, moves the weights.

    What it finds
        A weight decay that alone would halve the weights soon (`rate` a step, or `coupled` where an adaptive optimizer
        adds it to the gradient), that was as strong as the gradient while the weights shrank to `shrunk` of their
        start, and a loss that stays within a tenth of its start, or comes back to it, or no longer falls and stays
        high. Also where AdamW forgets what it learned within 200 steps (`rate_apart`), and the loss stays high.
    Why it matters
        The penalty on the weights has become the whole task: they go to zero, the model's answer no longer depends on
        its input, and the loss ends at chance.
    Sick
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1.0)
    Healed
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=5e-4)
    What to do
        Lower the weight decay to a hundredth of what balances the gradient at the start of the run: the advice names
        that number, from the run's own norms.
    Silent on
        A decay that shrinks the weights while the loss falls (batch normalisation, grokking); one that the gradient
        balances; frozen groups; losses that may rise.
    Known at
        `min_rows` rows, where the weights have halved by then (or will have, as they shrink). Thresholds: {thresholds}.
    References
        Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101 (decay apart from the gradient). The advice: at a
        hundredth, decay takes off weights that the gradient does not want, and nothing else; measured on small
        networks, where a tenth still costs accuracy.
    """

    code = "GS304"
    name = "weight-decay-dominates"
    severity = "warning"
    message = (
        "weight_decay={decay} moves the weights, {times} times as much as {other}: their norm went from {norm_start} "
        "to {norm_now}, and the loss {loss} ({start} at the start, {now} now)"
    )
    needs = ("norms",)
    explains = ("GS203", "GS204", "GS301", "GS302", "GS305", "GS403", "GS404")

    min_rows: int = 60
    rate: float = 0.0005  # lr * weight_decay, a step (momentum counted in)
    coupled: float = 0.03
    shrunk: float = 0.5  # of the norm at the start
    gone: float = 0.2
    ratio: float = 0.8  # of the decay to the gradient
    ratio_apart: float = 0.5  # of the decay to the whole update
    stuck: float = 0.9  # of the loss at the start
    came_back: float = 0.7  # of what had been gained
    high: float = 0.4  # of the loss at the start, where the weights have halved,
    high_gone: float = 0.25  # are nearly gone,
    high_apart: float = 0.1  # or are forgotten,
    rate_apart: float = 0.005  # by so much a step,
    flat: float = 0.95  # and the loss of the last third of the run against that of the second
    advised: float = 0.01  # of the decay that balances the gradient,
    advised_coupled: float = 0.001  # and where the optimizer normalises both together

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in record.streams:
            for optimizer in stream.optimizers:
                settings, apart = self._strong(record, optimizer)
                if not settings or len(optimizer.rows) < self.min_rows or stream not in judged(record):
                    continue
                decay = self._decay(optimizer, settings, apart)
                if decay is None:
                    continue
                loss = self._loss(stream, decay, self._forgets(optimizer, decay))
                if loss is not None and decay.typical(self.shrunk) >= (self.ratio_apart if apart else self.ratio):
                    yield self._finding(record, stream, optimizer, decay, loss)

    def not_judged(self, record: Record) -> str:
        return skipped(record) if any(self._strong(record, o)[0] for o in record.optimizers) else ""

    def _strong(self, record: Record, optimizer: OptimizerRecord) -> tuple[dict[int, float], bool]:
        """The weight decay of each group, if one is strong enough to halve weights soon; and whether it acts apart."""
        settings: dict[int, float] = {}
        strong = apart = False
        for fact in newest_of(record.facts.of(Hyperparameters)):
            decay = fact.values.get("weight_decay", 0) if fact.optimizer == optimizer.number else 0
            if not isinstance(decay, (int, float)) or not decay > 0 or fact.group >= optimizer.lr.shape[1]:
                continue
            settings[fact.group] = float(decay)
            apart = optimizer.kind in _APART or bool(fact.values.get("decoupled_weight_decay"))
            if optimizer.kind in _ADAPTIVE and not apart:
                strong = strong or decay >= self.coupled
            elif apart or optimizer.kind in _PLAIN:
                momentum = fact.values.get("momentum", 0) if optimizer.kind == "SGD" else 0
                lr = float(optimizer.lr[:256, fact.group].max(initial=0))
                strong = strong or lr * decay / max(0.01, 1 - momentum) >= self.rate
        return (settings if strong else {}), apart

    @staticmethod
    def _decay(optimizer: OptimizerRecord, settings: dict[int, float], apart: bool) -> _Decay | None:
        columns = [i for i, p in enumerate(optimizer.parameters) if len(p.shape) > 1 and p.group in settings]
        if not columns or len(optimizer.measured) < 8:
            return None
        strength = np.array([settings[optimizer.parameters[i].group] for i in columns])
        weights = optimizer.arrays["weight_norm"][:, columns].astype(np.float64)
        total, pull = _norm(weights), _norm(strength * weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            if apart:
                at = np.clip(np.searchsorted(optimizer.rows, optimizer.measured), 0, len(optimizer.rows) - 1)
                lr = optimizer.lr[at].max(axis=1)
                ratio = lr * pull / _norm(optimizer.arrays["update_norm"][:, columns].astype(np.float64))
            else:
                ratio = pull / _norm(optimizer.grad_norm(Point.BEFORE_STEP)[:, columns].astype(np.float64))
        known = np.isfinite(total) & (total > 0)
        if known.sum() < 8:
            return None
        return _Decay(optimizer.measured[known], total[known], ratio[known], settings, apart)

    def _forgets(self, optimizer: OptimizerRecord, decay: _Decay) -> bool:
        """Whether decay apart from the gradient takes all of a weight so soon that nobody can mean it, and did so."""
        lr = optimizer.lr[:256].max(axis=0, initial=0)
        rate = max(lr[group] * value for group, value in decay.settings.items())
        return decay.apart and rate >= self.rate_apart and len(optimizer.rows) >= 3 / rate

    def _loss(self, stream: Stream, decay: _Decay, forgets: bool) -> tuple[str, float, float] | None:
        """What the loss does, its start and its level now, where that is sick."""
        course = int(stream.optimizers[0].scalars["course"][-1])
        blocks = stream.courses.get(course)
        loss = stream.loss[stream.optimizers[0].scalars["course"] == course]
        head = loss[:5][np.isfinite(loss[:5])]
        if blocks is None or not len(head) or len(blocks) < 8 or (blocks["count"] == 0).any():
            return None
        start, (best, before, now) = float(head.mean()), _levels(blocks)
        small = decay.left(int(stream.rows[-1])) <= self.shrunk
        if small and now >= self.stuck * start:
            return "stays where it was", start, now
        if small and now - best >= self.came_back * (start - best):
            return "comes back to where it was", start, now
        share = float(decay.weights[-1] / decay.weights[0])
        high = self.high_gone if share <= self.gone else self.high if share <= self.shrunk else np.inf
        if now >= self.flat * before and now >= start * min(high, self.high_apart if forgets else np.inf):
            return "no longer falls", start, now
        return None

    def _finding(
        self, record: Record, stream: Stream, optimizer: OptimizerRecord, decay: _Decay, loss: tuple[str, float, float]
    ) -> Finding:
        words, start, now = loss
        ratio = decay.typical(self.shrunk)
        groups = sorted(decay.settings)
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            evidence={
                "decay": max(decay.settings.values()),
                "times": ratio,
                "other": "the whole update" if decay.apart else "the gradient",
                "norm_start": float(decay.weights[0]),
                "norm_now": float(decay.weights[-1]),
                "loss": words,
                "start": start,
                "now": now,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            group=groups[0] if len(groups) == 1 else None,
            where=record.site(int(optimizer.scalars["step_site"][-1])),
            label="takes off more by decay than it adds by the gradient",
            advice=tuple(self._lower(optimizer, decay, group) for group in groups[:4]),
        )

    def _lower(self, optimizer: OptimizerRecord, decay: _Decay, group: int) -> Advice:
        """A share of the decay that balances the gradient at the start of the run, on the 1-3-10 grid."""
        value = decay.settings[group]
        columns = [i for i, p in enumerate(optimizer.parameters) if len(p.shape) > 1 and p.group == group]
        weight = float(_norm(optimizer.arrays["weight_norm"][:1, columns].astype(np.float64))[0]) if columns else 0.0
        if decay.apart:  # each element moves by about lr a step
            force = self.advised * math.sqrt(sum(math.prod(optimizer.parameters[i].shape) for i in columns))
        else:
            norms = _norm(optimizer.grad_norm(Point.BEFORE_STEP)[:5, columns].astype(np.float64))
            share = self.advised_coupled if optimizer.kind in _ADAPTIVE else self.advised
            force = share * float(np.nanmedian(norms)) if np.isfinite(norms).any() else 0.0
        balanced = force / weight if weight > 0 else 0.0
        to = grid_1_3_10(min(value / 10, balanced) if balanced > 0 else value / 100)
        which = f" of group {group}" if optimizer.lr.shape[1] > 1 else ""
        values = {"optimizer": optimizer.number, "group": group, "from": value, "to": to}
        return Advice(f"lower weight_decay{which} to {to:g} (it is {value:g})", "set-weight-decay", values)


def _norm(parts: Array) -> Array:
    """# (rows,) of # (rows, parts): NaN where none is known."""
    known = np.isfinite(parts)
    total = np.sqrt(np.where(known, parts * parts, 0.0).sum(axis=1))
    return np.asarray(np.where(known.any(axis=1), total, np.nan))


def _levels(blocks: Blocks) -> tuple[float, float, float]:
    """The lowest mean loss over an eighth of the run, and those over its second and its last third."""
    count = np.concatenate([[0.0], np.cumsum(blocks["count"])])
    total = np.concatenate([[0.0], np.cumsum(blocks["count"] * blocks["mean"])])
    length, one, two = max(1, len(blocks) // 8), -(-len(blocks) // 3), -(-2 * len(blocks) // 3)
    best = ((total[length:] - total[:-length]) / (count[length:] - count[:-length])).min()
    before = (total[two] - total[one]) / (count[two] - count[one])
    return float(best), float(before), float((total[-1] - total[two]) / (count[-1] - count[two]))
