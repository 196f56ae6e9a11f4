"""GS404 gradient-all-zero."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.operations import BlockedGradient
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import Array, OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.profile import zero_since, zeros
from gradscope.rules.standing import stuck
from gradscope.rules.steps import steps_of

_STRAIGHT = (
    "pass the gradient by it, straight-through: x + ({call}(x) - x).detach(); or take a smooth function while training"
)
_ONE = (
    "normalise over the dimension that holds the classes; with a single output for two classes leave the softmax out "
    "and take BCEWithLogitsLoss"
)
_WHY = {
    "softmax-of-one": ("a softmax over a single value is always 1", _ONE),
    "normalised-one": ("a single value, normalised, is always 0", "normalise over the dimension that holds features"),
    "clamp": (
        "clamp() has cut off every value",
        "leave out the clamp before the loss; where values must be bounded, use sigmoid or tanh, which have a slope",
    ),
    "floor-division": ("division with rounding has no slope", _STRAIGHT.format(call="torch.floor")),
}


@dataclass(frozen=True)
class GradientAllZero(Rule):
    """Parameters get a gradient, and it is exactly 0, step after step.

    What it finds
        Behind an operation without a slope (round, sign, floor, a softmax over one value, a clamp that cuts off every
        value) that stands on all ways to them: parameters whose gradient was exactly 0 in each measured row. Where no
        such operation is known: most of the weights, for `rows` rows, while the loss stays where it is. Fewer: info.
    Why it matters
        They are trained in name only. None (GS102) would have shown; 0 looks like a gradient.
    Sick
        code = torch.round(encoder(x))
        loss = mse_loss(decoder(code), x)
    Healed
        z = encoder(x)
        code = z + (torch.round(z) - z).detach()
        loss = mse_loss(decoder(code), x)
    What to do
        Let the gradient pass by the operation, or replace it by one that has a slope. Where units never fire: a smaller
        learning rate, another initialisation.
    Silent on
        Gates and adapters that start at zero; straight-through estimators; x - x.floor(), which has another way; rows
        of embeddings; losses of exactly 0 (a margin that is kept); frozen parameters; terms multiplied by 0.
    Known at
        `rows_blocked` measured rows behind such an operation, `rows_clamped` behind a clamp (and the loss must stay
        where it is); else `rows` rows. Thresholds: {thresholds}.
    References
        Bengio, Leonard and Courville 2013, https://arxiv.org/abs/1308.3432 (the straight-through estimator).
    """

    code = "GS404"
    name = "gradient-all-zero"
    severity = "warning"
    needs = ("norms",)
    message = "the gradient of {which} is {exactly}0 since step {since}: {why}"
    explains = ("GS204", "GS302", "GS403")

    rows_blocked: int = 3
    rows_clamped: int = 50
    rows: int = 100
    measured: int = 20
    most: float = 0.5  # of the weights
    kept: float = 0.97  # of the loss at the start
    rounding: float = 1e-4  # of the largest gradient

    def check(self, record: Record) -> Iterator[Finding]:
        for optimizer in record.optimizers:
            zero, rows = zeros(optimizer)
            stream = next((s for s in record.streams if optimizer in s.optimizers), None)
            fact = self._blocked(record, optimizer, zero)
            if fact is None and not zero.any():  # what is normalised to 0 leaves an error of rounding
                near = zeros(optimizer, self.rounding)[0]
                fact = self._blocked(record, optimizer, near, "normalised-one")
                zero = near if fact is not None else zero
            if rows < self.rows_blocked or not zero.any():
                continue
            if fact is not None and stream is not None:
                severity = self._severity(record, stream, optimizer, fact, self._share(optimizer, zero))
                why, cure = _explained(fact.operation)
                if severity:
                    yield self._finding(record, optimizer, zero, why, cure, severity, fact)
            elif rows >= self.measured and len(optimizer.rows) >= self.rows and stream is not None:
                yield from self._unexplained(record, stream, optimizer, zero)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, as long as the gradients are 0."""
        mine = [optimizer for optimizer in record.optimizers if optimizer.number == finding.optimizer]
        rounding = self.rounding if finding.evidence["operation"] == "normalised-one" else 0.0
        zero = {name for optimizer in mine for name in optimizer.names(zeros(optimizer, rounding)[0])}
        return not zero & set(finding.parameters)

    def _blocked(
        self, record: Record, optimizer: OptimizerRecord, zero: Array, only: str = ""
    ) -> BlockedGradient | None:
        for entry in record.facts.of(BlockedGradient):
            fact = entry.examples[0]
            assert isinstance(fact, BlockedGradient)
            mine = only in ("", fact.operation) and fact.optimizer == optimizer.number
            if mine and fact.parameter < len(zero) and zero[fact.parameter]:
                return fact
        return None

    def _severity(
        self, record: Record, stream: Stream, optimizer: OptimizerRecord, fact: BlockedGradient, share: float
    ) -> str:
        """A clamp is a margin, too, which may be kept; and attention to one key is attention."""
        if fact.operation in ("softmax-of-one", "normalised-one"):
            return "warning" if share >= self.most else "info"
        if fact.operation != "clamp":
            return "warning"
        if not np.abs(stream.loss[-self.rows_clamped :]).max(initial=0.0) > 0 or stream not in judged(record):
            return ""
        stays = stuck(steps_of(record, stream, optimizer), self.rows_clamped, self.kept) is not None
        return "warning" if stays and share >= self.most else ""

    def _unexplained(
        self, record: Record, stream: Stream, optimizer: OptimizerRecord, zero: Array
    ) -> Iterator[Finding]:
        """No operation is known that would have to do it: units that never fire, factors of 0."""
        weights = np.array([len(p.shape) >= 2 for p in optimizer.parameters], np.bool_)
        since = zero_since(optimizer, zero)
        if not (zero & weights).any() or int(optimizer.rows[-1]) - since < self.rows:
            return
        if not np.abs(stream.loss[-self.rows :]).max(initial=0.0) > 0:
            return  # there is nothing to learn
        dead = self._share(optimizer, zero) >= self.most and stream in judged(record)
        level = stuck(steps_of(record, stream, optimizer), self.rows, self.kept) if dead else None
        why = "most of its weights get nothing" if dead else "nothing comes through to it"
        cure = "look for units that never fire (a smaller learning rate, another initialisation) or a factor that is 0"
        yield self._finding(record, optimizer, zero, why, cure, "info" if level is None else "warning", None)

    def _share(self, optimizer: OptimizerRecord, zero: Array) -> float:
        """Of the weight matrices."""
        weights = np.array([len(p.shape) >= 2 for p in optimizer.parameters], np.bool_)
        return float(zero[weights].mean()) if weights.any() else float(zero.mean())

    def _finding(
        self,
        record: Record,
        optimizer: OptimizerRecord,
        zero: Array,
        why: str,
        cure: str,
        severity: str,
        fact: BlockedGradient | None,
    ) -> Finding:
        names, exact = optimizer.names(zero), fact is None or fact.operation != "normalised-one"
        since = zero_since(optimizer, zero) if exact else int(optimizer.rows[0])
        newest = int(optimizer.scalars["backward_site"][-1])
        return self.finding(
            (since, int(optimizer.rows[-1])),
            severity=severity,
            evidence={
                "which": list_names(names),
                "since": since,
                "exactly": "exactly " if exact else "but for rounding ",
                "why": why,
                "operation": "" if fact is None else fact.operation,
                "weights": self._share(optimizer, zero),
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            where=record.site(newest) if fact is None else fact.site,
            label="makes gradients of 0",
            advice=(Advice(cure),),
        )


def _explained(operation: str) -> tuple[str, str]:
    """Why the gradient is 0, and what to do."""
    if operation in _WHY:
        return _WHY[operation]
    return f"{operation}() has no slope", _STRAIGHT.format(call=f"torch.{operation}")
