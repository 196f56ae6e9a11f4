"""GS502 saturated-activations."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

from gradscope.facts.fact import FactEntry, newest_of
from gradscope.facts.model import Saturation
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.advice import decade_down
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.standing import Standing, lately, standing, unseen


@dataclass(frozen=True)
class SaturatedActivations(Rule):
    """Sigmoid or tanh units sit at their asymptotes, and the loss is stuck.

    What it finds
        A sigmoid or tanh of which `saturated` of the values lie where its slope is below 2 % of the steepest, while
        the loss is still above `stuck` of what it is worth to know nothing. Info where they came there by and by: too
        long steps do that, and GS301 tells. Above `slow` of it, where from the first row on `nearly_all` of them do:
        in two layers or more whose weights are `heavy` times as large as usual, or in the first layer, of inputs with
        an rms above `huge`.
    Why it matters
        Next to no gradient passes: what stands before does not learn. Large inputs or large weights do this.
    Sick
        model(images * 255)  # into nn.Linear, nn.Tanh
    Healed
        model(images)
    What to do
        Bring the inputs to mean 0 and standard deviation 1, or start the weights smaller: the factor is named. ReLU
        does not saturate.
    Silent on
        Gates (what is multiplied: LSTM, GLU, squeeze-and-excitation, highway); a loss that falls, whatever its units
        do: a converged classifier, black and white images; losses whose level of knowing nothing is not known, or that
        may rise (generators, policies).
    Known at
        `rows` rows, half as many at the end of the run. Thresholds: {thresholds}.
    References
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (2010).
    """

    code = "GS502"
    name = "saturated-activations"
    severity = "warning"
    message = (
        "{share} of the {function} after {place} is flat (its slope below 2 % of the steepest), and the loss is {how} "
        "at {now} (a blind guess: {chance}): {why}"
    )
    explains = ("GS204", "GS205", "GS301", "GS302", "GS403", "GS404")

    saturated: float = 0.6
    stuck: float = 0.8
    rows: int = 100
    large: float = 3.0
    slow: float = 0.5
    nearly_all: float = 0.9
    heavy: float = 5.0
    huge: float = 10.0

    def check(self, record: Record) -> Iterator[Finding]:
        for stream in judged(record):
            stands = standing(record, stream)
            if stands is None or stands.rising or stands.trained_before or not stands.chance:
                continue
            if stands.rows < self.rows / (1 + record.meta.ended) or stands.share < self.slow:
                continue
            numbers = {o.number for o in stream.optimizers}
            entries = [e for e in record.facts.of(Saturation) if getattr(e.newest, "optimizer", -1) in numbers]
            flat = [e for e in entries if self._flat(e.newest) and lately(e.last, stands.rows)]
            born = [e for e in flat if self._flat(e.examples[0])]
            if flat and stands.share >= self.stuck:
                yield self._finding(record, stream, stands, born or flat, "warning" if born else "info")
            elif self._all_pinned(born):
                yield self._finding(record, stream, stands, born, "warning")

    def _flat(self, fact: object) -> bool:
        return isinstance(fact, Saturation) and fact.saturated >= self.saturated

    def _all_pinned(self, born: list[FactEntry]) -> bool:
        """Whether next to nothing of the first layer, or of several, has a slope, and it is plain why."""
        pairs = [(fact, entry.newest) for entry in born if isinstance(fact := entry.examples[0], Saturation)]
        always = [a for a, b in pairs if isinstance(b, Saturation) and min(a.saturated, b.saturated) >= self.nearly_all]
        heavy = [fact for fact in always if self._excess(fact) >= self.heavy]
        return len(heavy) >= 2 or any(fact.first and fact.inputs >= self.huge for fact in always)

    @staticmethod
    def _excess(fact: Saturation) -> float:
        """The weights' rms against that of the usual initialisation; 0 where it is not known."""
        gain = 5 / 3 if fact.function == "Tanh" else 1.0
        return fact.weights * math.sqrt(fact.fan_in) / gain if fact.fan_in and fact.weights > 0 else 0.0

    def not_judged(self, record: Record) -> str:
        return unseen(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Taken back once the loss has left its level."""
        stream = record.stream(finding.stream)
        stands = None if stream is None else standing(record, stream)
        pinned = finding.evidence.get("pinned_from_the_start", False)
        return stands is not None and stands.share < 0.9 * (self.slow if pinned else self.stuck)

    def _finding(
        self, record: Record, stream: Stream, stands: Standing, entries: list[FactEntry], severity: str
    ) -> Finding:
        flat: list[Saturation] = newest_of(entries)
        first = min(flat, key=lambda fact: not fact.first)  # the one that the inputs go into, where it is among them
        worst = first if first.first and first.inputs > self.large else max(flat, key=lambda fact: fact.saturated)
        why, advice = self._why(worst)
        optimizer = stream.optimizers[0]
        if severity == "warning" and not self._known(worst):
            severity = "info"
        elif severity == "info":
            why = "it was not so at first: the steps have done it"
            advice = (*decade_down(record, optimizer), *advice)
        since = min(fact.row for e in entries for fact in e.examples if self._flat(fact))
        return self.finding(
            (since, int(stream.rows[-1])),
            severity=severity,
            evidence={
                "share": f"{100 * worst.saturated:.0f} %",
                "function": worst.function,
                "place": worst.place,
                "how": "stuck" if stands.share >= self.stuck else "still",
                "now": stands.now,
                "chance": stands.chance,
                "why": why,
                "pinned": worst.pinned,
                "units": worst.units,
                "inputs": worst.inputs,
                "weights": worst.weights,
                "pinned_from_the_start": severity != "info" and self._all_pinned(entries),
                "layers": [fact.place for fact in flat],
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=tuple(fact.place for fact in flat),
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="units of this model are saturated",
            advice=advice,
        )

    def _known(self, fact: Saturation) -> bool:
        """Whether its inputs or its weights are the cause."""
        return fact.inputs > self.large or self._excess(fact) > 2

    def _why(self, fact: Saturation) -> tuple[str, tuple[Advice, ...]]:
        relu = Advice("or use nn.ReLU(), which does not saturate")
        if fact.inputs > self.large:
            text = f"normalise what goes into {fact.place}: (x - mean) / std; as it is, divide it by {fact.inputs:.3g}"
            return f"what goes into {fact.place} is large (rms {fact.inputs:.3g})", (Advice(text), relu)
        excess = self._excess(fact)
        if excess > 2:
            to = fact.weights / excess
            text = (
                f"start the weights of {fact.place} {excess:.2g} times smaller: nn.init.normal_(weight, "
                f"std={to:.2g}) (it is {fact.weights:.2g})"
            )
            return f"the weights of {fact.place} are large (rms {fact.weights:.2g})", (Advice(text), relu)
        return "its inputs have grown", (Advice("normalise before it: nn.LayerNorm or nn.BatchNorm"), relu)
