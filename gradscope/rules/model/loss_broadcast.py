"""GS504 loss-broadcast."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import FactEntry
from gradscope.facts.operations import LossBroadcast
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class LossBroadcasts(Rule):
    """Each prediction is compared with each target: their shapes are (N, 1) and (N,).

    What it finds
        An elementwise loss (mse, l1, smooth l1, huber, a difference that is squared and averaged, a product that is
        averaged, as of log-probabilities and advantages) of two tensors that had to be stretched against each other,
        both of them, to (N, N): read from the graph of the loss.
    Why it matters
        The best that a model can do then is to predict the mean of all targets, whatever the input. The loss falls to
        their variance and stays there; nothing else shows it, but for a warning of torch's in some of these losses.
    Sick
        loss = nn.MSELoss()(model(x), y)  # (64, 1) and (64,)
    Healed
        loss = nn.MSELoss()(model(x).squeeze(1), y)
    What to do
        Give both the same shape: squeeze(1) takes the 1 away where it is, unsqueeze(1) puts it where it is missing.
    Silent on
        Losses where only one side is stretched (ensembles, quantiles, one target for many predictions); dimensions that
        the loop has put there itself to compare all pairs (`a[:, None] - b[None, :]`); batches of one; on torch 2.4,
        which does not tell their shapes, differences and products that are written out.
    Known at
        The first step. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/broadcasting.html
    """

    code = "GS504"
    name = "loss-broadcast"
    severity = "warning"
    message = "the loss compares each prediction with each target: {prediction} beside {target} makes {result}"
    needs = ("LossBroadcastProbe",)
    explains = ("GS203", "GS204", "GS205", "GS301", "GS302", "GS403", "GS404")

    def check(self, record: Record) -> Iterator[Finding]:
        for entry in record.facts.of(LossBroadcast):
            fact = entry.newest
            assert isinstance(fact, LossBroadcast)
            for optimizer in record.optimizers:
                if optimizer.number == fact.optimizer and len(optimizer.rows):
                    yield self._finding(record, optimizer, fact, entry)

    def over(self, finding: Finding, record: Record) -> bool:
        """It was so when it was looked at."""
        return False

    def _finding(self, record: Record, optimizer: OptimizerRecord, fact: LossBroadcast, entry: FactEntry) -> Finding:
        longer = fact.prediction.count(",") > fact.target.count(",") or fact.target.endswith(",)")
        prediction, target = ("squeeze(1)", "unsqueeze(1)") if longer else ("unsqueeze(1)", "squeeze(1)")
        return self.finding(
            (entry.first, max(entry.last, int(optimizer.rows[-1]))),
            evidence={
                "prediction": fact.prediction,
                "target": fact.target,
                "result": fact.result,
                "loss": fact.loss,
                "seen": entry.count,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            where=fact.site,
            label="of this loss",
            advice=(Advice(f"give both one shape: prediction.{prediction}, or target.{target}"),),
        )
