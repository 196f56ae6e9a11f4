"""GS503 normalized-output-into-loss."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import FactEntry
from gradscope.facts.operations import NormalizedOutput
from gradscope.findings import Advice, Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule

_TAKES = {
    "cross-entropy": "cross entropy takes logits, and makes the softmax itself",
    "bce-with-logits": "BCEWithLogitsLoss takes logits, and makes the sigmoid itself",
    "nll": "NLLLoss takes log-probabilities",
}
_GIVEN = {
    "softmax": "the probabilities of a softmax",
    "log-softmax": "the output of a log-softmax",
    "sigmoid": "the output of a sigmoid",
    "logits": "the raw output of a layer",
}


@dataclass(frozen=True)
class NormalizedOutputIntoLoss(Rule):
    """A loss function is given probabilities where it takes logits, or logits where it takes log-probabilities.

    What it finds
        The graph of the loss: cross entropy, or BCEWithLogitsLoss, of what comes straight from a softmax or a sigmoid
        (reshaped or not); NLLLoss of a softmax, or of a layer's raw output that is no logarithm of probabilities.
        A log-softmax before cross entropy changes nothing, and is info.
    Why it matters
        A softmax of a softmax lies between 1 / C and e / C: the loss can never come near 0, and its gradients all but
        vanish where the model is most wrong. NLLLoss of logits has no lower end: they only have to grow.
    Sick
        model = nn.Sequential(nn.Linear(64, 10), nn.Softmax(dim=1))
        loss = nn.CrossEntropyLoss()(model(x), y)
    Healed
        model = nn.Sequential(nn.Linear(64, 10))
        loss = nn.CrossEntropyLoss()(model(x), y)
    What to do
        Hand the loss what it takes. Take the softmax or the sigmoid where probabilities are asked for, outside of it.
    Silent on
        A softmax inside (attention, gates, experts) or on the targets (distillation); a scale, a temperature, a mixture
        or a logarithm between it and the loss; log densities, of a mixture or a flow, in NLLLoss.
    Known at
        The first step. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html (and BCEWithLogitsLoss, NLLLoss)
    """

    code = "GS503"
    name = "normalized-output-into-loss"
    severity = "warning"
    message = "{takes}; it was given {given}{layer}"
    needs = ("NormalizedOutputProbe",)
    explains = ("GS204", "GS205", "GS301", "GS302", "GS403", "GS404", "GS502")

    def check(self, record: Record) -> Iterator[Finding]:
        for entry in record.facts.of(NormalizedOutput):
            fact = entry.examples[0]  # another loss may come by the same layer: a generator's
            assert isinstance(fact, NormalizedOutput)
            for optimizer in record.optimizers:
                if optimizer.number == fact.optimizer and len(optimizer.rows):
                    yield self._finding(record, optimizer, fact, entry)

    def over(self, finding: Finding, record: Record) -> bool:
        """It was so when it was looked at."""
        return False

    def _finding(
        self, record: Record, optimizer: OptimizerRecord, fact: NormalizedOutput, entry: FactEntry
    ) -> Finding:
        names = [p.name for p in optimizer.parameters[fact.parameter : fact.parameter + 1]]
        layer = names[0].rpartition(".")[0] if names else ""
        harmless = fact.output == "log-softmax"
        values = {"optimizer": fact.optimizer, "output": fact.output, "loss": fact.loss}
        return self.finding(
            (entry.first, max(entry.last, int(optimizer.rows[-1]))),
            severity="info" if harmless else None,
            evidence={
                "takes": _TAKES[fact.loss],
                "given": _GIVEN[fact.output],
                "layer": f" on top of {layer}" if layer and fact.output != "logits" else f", {layer}" if layer else "",
                "output": fact.output,
                "loss": fact.loss,
                "seen": entry.count,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=tuple(names),
            where=fact.site,
            label="of this loss",
            advice=(Advice(_cure(fact), None if harmless else "take-logits", {} if harmless else values),),
        )


def _cure(fact: NormalizedOutput) -> str:
    if fact.output == "logits":
        return "hand NLLLoss log_softmax(output, dim=1), or hand the output itself to CrossEntropyLoss"
    if fact.loss == "nll":
        return f"hand NLLLoss log_softmax in place of {fact.output}; or leave it out and take CrossEntropyLoss"
    if fact.output == "log-softmax":
        return "it changes nothing: leave out the log_softmax, or take NLLLoss, which does not make another one"
    if fact.output == "sigmoid" and fact.loss == "cross-entropy":
        return "leave out the sigmoid before the loss: cross entropy takes logits of any size"
    instead = {"softmax": "", "sigmoid": " (or take BCELoss)"}[fact.output]
    return f"leave out the {fact.output} before the loss{instead}; take it where you need probabilities"
