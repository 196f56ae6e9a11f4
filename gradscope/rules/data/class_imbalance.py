"""GS604 class-imbalance."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.labels import LabelCounts, LabelOrder
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.standing import lately, unseen

_WEIGHTS = 12  # written out


@dataclass(frozen=True)
class ClassImbalance(Rule):
    """One class makes up nearly all labels, and the model predicts nothing else.

    What it finds
        Class labels of a cross entropy, `share` of which are of one class, where the model finds less than `found` of
        the others. As a warning: where it predicts others less than `little` times as often as they are there, and
        finds `missed` of them or fewer (of `others` at least, in the newer half of the run), while its loss is above
        `costs` of that of knowing no more than how frequent each class is, and falls no further than to `fallen`.
    Why it matters
        To predict the frequent class always is right nearly always, and the loss is low: it looks like a trained model.
        The gradient of the rare classes is small against that of the frequent one, which is all that was learned.
    Sick
        loss_fn = nn.BCEWithLogitsLoss()  # 2 % of the labels are 1
    Healed
        loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([49.0]))
    What to do
        Weights for the classes, from their counts: N / (C * n_c); or WeightedRandomSampler. Judge the model by its
        balanced error, not by its accuracy. The weights shift the probabilities: where those are what you need, leave
        them out, train longer, and choose a threshold.
    Silent on
        Weighted losses, and samplers that draw the classes alike; imbalance that the model has learned to solve; losses
        that are not averages of a cross entropy (focal loss); outputs of many labels; adversarial losses; sorted data;
        tokens and pixels of which the model finds some. As info: models that find a few of the others; rates of clicks
        (a binary loss of looked-up vectors).
    Known at
        The end of the run, or 4096 rows. Thresholds: {thresholds}.
    References
        King and Zeng, Logistic regression in rare events data (2001). Six programs with 1.5-7 % of other labels, whose
        loss was 0.66-1.1 of guessing by frequency: weights brought their balanced error from 0.5 (0.81 of eight
        classes) to 0.19-0.33 (0.52), the recall of rare tokens from 0 to 1, the overlap of rare pixels from 0 to 0.36.
    """

    code = "GS604"
    name = "class-imbalance"
    severity = "warning"
    message = (
        "class {label} makes up {percent} % of the labels, and of {others} labels of other classes since step {since} "
        "the model finds {hits}{rest}"
    )
    needs = ("LabelsProbe",)

    share: float = 0.9
    samples: int = 256
    found: float = 0.5
    others: int = 20
    missed: float = 0.1
    little: float = 0.2
    costs: float = 0.5
    guessing: float = 0.97  # of the entropy: said to be the loss of guessing
    fallen: float = 0.8  # the newest losses against the newer half: below, it is being learned
    rows: int = 128
    rows_of_running: int = 4096
    sorted: float = 0.5  # `within` of GS602

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in newest_of(record.facts.of(LabelCounts)):
            others = sum(fact.given[1:])
            if fact.weighted or len(fact.labels) < 2 or fact.counts[0] < self.share * fact.samples or not others:
                continue
            if fact.samples < self.samples or sum(fact.hit[1:]) >= self.found * others or self._is_sorted(record, fact):
                continue
            stream = record.stream(record.stream_of(fact.optimizer))
            if stream is None or not self._known(record, stream, fact):
                continue
            sick = self._nothing_else(record, stream, fact)
            if sick or not fact.dense:
                rates = fact.function != "cross-entropy" and fact.ids
                yield self._finding(record, stream, fact, "info" if rates or not sick else None)

    def _known(self, record: Record, stream: Stream, fact: LabelCounts) -> bool:
        """Whether the model has had its time."""
        rows = int(stream.rows[-1]) + 1 if len(stream.rows) else 0
        return rows >= (self.rows if record.meta.ended else self.rows_of_running) and lately(fact.row, rows)

    def not_judged(self, record: Record) -> str:
        return unseen(record)

    def _is_sorted(self, record: Record, fact: LabelCounts) -> bool:
        orders = newest_of(record.facts.of(LabelOrder))
        return any(o.optimizer == fact.optimizer and o.within >= self.sorted for o in orders)

    def _nothing_else(self, record: Record, stream: Stream, fact: LabelCounts) -> bool:
        """Whether the model has ended up with the frequent class alone."""
        others = sum(fact.given[1:])
        if others < self.others or sum(fact.hit[1:]) > self.missed * others:
            return False
        if fact.late - fact.predicted[0] > self.little * (fact.late - fact.given[0]):
            return False
        if not fact.loss >= self.costs * fact.entropy or stream not in judged(record):
            return False
        late = stream.loss[stream.rows >= fact.since]
        late = late[np.isfinite(late)]
        newest = late[-max(32, len(late) // 4) :]
        return len(late) > 0 and bool(newest.mean() >= self.fallen * late.mean())

    def _finding(self, record: Record, stream: Stream, fact: LabelCounts, severity: str | None) -> Finding:
        optimizer = stream.optimizers[0]
        share = fact.counts[0] / fact.samples
        return self.finding(
            (int(stream.rows[0]), int(stream.rows[-1])),
            severity=severity,
            evidence={
                "label": fact.labels[0],
                "percent": float(f"{100 * share:.3g}"),
                "others": sum(fact.given[1:]),
                "hits": sum(fact.hit[1:]) or "none",
                "since": fact.since,
                "rest": self._rest(fact) if severity is None else "",
                "share": share,
                "loss": fact.loss,
                "entropy": fact.entropy,
                "counts": dict(zip(fact.labels, fact.counts)),
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="of this loss",
            advice=(Advice(_weights(fact)), Advice("or draw rare classes more often: WeightedRandomSampler")),
        )

    def _rest(self, fact: LabelCounts) -> str:
        if fact.loss >= self.guessing * fact.entropy:
            return ": its loss is that of guessing by frequency"
        return f": it predicts class {fact.labels[0]} for {100 * fact.predicted[0] / fact.late:.3g} % of all"


def _weights(fact: LabelCounts) -> str:
    counts = dict(zip(fact.labels, fact.counts))
    if fact.function != "cross-entropy":
        weight = _short(counts.get(0, 0) / max(1, counts.get(1, 0)))
        return f"weigh the rare class: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([{weight}]))"
    if fact.of > _WEIGHTS or set(counts) != set(range(fact.of)):
        return "weigh the classes: nn.CrossEntropyLoss(weight=n.sum() / (len(n) * n)), n = torch.bincount(labels)"
    weights = ", ".join(_short(fact.samples / (fact.of * counts[label])) for label in range(fact.of))
    return f"weigh the classes: nn.CrossEntropyLoss(weight=torch.tensor([{weights}]))"


def _short(weight: float) -> str:
    """Two digits are as much as the counts are good for; always a float, as torch asks for."""
    return repr(float(f"{weight:.2g}"))
