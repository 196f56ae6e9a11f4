"""GS505 poor-initialization."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Iterator

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.model import EqualUnits, Signal
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import Array, OptimizerRecord, Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.chance import guess
from gradscope.rules.judged import judged, skipped
from gradscope.rules.standing import Standing, standing
from gradscope.rules.too_large import large_logits, large_recurrent

GAINS = {"relu": math.sqrt(2), "leaky_relu": math.sqrt(2), "tanh": 5 / 3, "selu": 0.75, "sigmoid": 4.0, "": 1.0}


@dataclass(frozen=True)
class PoorInitialization(Rule):
    """The weights began so that the model cannot learn: all the same, or of a size that loses the signal.

    What it finds
        Units of a layer that began with the same weights and get the same gradients, consecutive layers that began with
        one number each, or weights all the same that get no gradient at all, and the loss is stuck: such units stay
        one. In models without normalisation: a signal that is below `dying` of the input's deviation (of 1, if that is
        less) at the last layer, because of its weights, while the loss is stuck at chance; or, by weights of a std
        above `large` / sqrt(fan_in), one that grows by `growing` a layer (or 1 / `dying` in all), from a first loss of
        `beyond` times a blind guess, and a loss no better than that guess yet. As an error, at once, where within
        `soon` rows the loss is no number any more. With normalisation: a last layer of such weights, into a cross
        entropy that began and stands so. Of recurrent layers: weights of `recurrent` / sqrt(hidden size), whatever the
        loss: their gates are shut, or open, for good.
    Why it matters
        Equal units never become different ones. What does not reach the last layer cannot be learned from, and a loss
        of a hundred times a guess takes all of the training to come down.
    Sick
        nn.init.constant_(layer.weight, 0.05)
    Healed
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    What to do
        Start with random weights of standard deviation gain / sqrt(fan_in), which keeps the variance from layer to
        layer: what it is, and what to use, are named. Or normalise between the layers.
    Silent on
        Weights of zeros whose gradients differ: heads, LoRA's B, the last layer of a residual branch; normalisation
        weights and biases; a single linear layer; models with normalisation, whose scale does not matter but for the
        last layer, nor there where the logits are made small again; everything that learns all the same, but for those
        recurrent weights. Deep sigmoids, through which no usual weights bring a signal (GS403 tells).
    Known at
        Equal units with equal gradients: three rows. A loss that is no number: at once. All else: `rows` rows, half as
        many at the end of the run. Thresholds: {thresholds}.
    References
        Glorot and Bengio (2010); He et al., Delving deep into rectifiers (2015), for the gains. Usual
        weights: torch's own have 0.58 / sqrt(fan_in), Glorot's 1, He's 1.41, those for tanh 1.67.
    """

    code = "GS505"
    name = "poor-initialization"
    severity = "warning"
    message = "{what}"
    explains = (
        "GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS301", "GS302", "GS401", "GS402", "GS403", "GS404",
        "GS501", "GS502",
    )  # fmt: skip

    same: float = 1e-3
    together: int = 2
    dying: float = 0.01
    growing: float = 2.0
    beyond: float = 3.0
    stuck: float = 0.95
    at_guess: float = 0.8
    rows: int = 100
    deep: int = 3
    soon: int = 50  # rows
    small: float = 0.45  # of 1 / sqrt(fan_in)
    large: float = 2.2
    recurrent: float = 10.0  # times 1 / sqrt(hidden size)

    def check(self, record: Record) -> Iterator[Finding]:
        fine = judged(record)
        for stream in record.streams:
            stands = standing(record, stream) if stream in fine else None
            found = self._equal(record, stream, stands) or self._signal(record, stream, stands, stream in fine)
            found = found or self._large(record, stream, stands)
            if found is not None:
                what, evidence, names, advice = found
                optimizer = stream.optimizers[0]
                yield self.finding(
                    (0, int(stream.rows[-1])),
                    severity="error" if evidence.get("blown") else None,
                    evidence={"what": what, **evidence},
                    stream=stream.number,
                    optimizer=optimizer.number,
                    parameters=names,
                    where=record.site(int(optimizer.scalars["backward_site"][-1])),
                    label="this model began so",
                    advice=tuple(_of_optimizer(one, optimizer) for one in advice),
                )

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Equal units stay so; for the rest, the loss tells."""
        stream = record.stream(finding.stream)
        stands = None if stream is None else standing(record, stream)
        lasting = finding.evidence.get("equal") or finding.evidence.get("recurrent")
        return stands is not None and not lasting and stands.share < 0.9 * self.at_guess

    def _stuck(self, record: Record, stands: Standing | None, share: float) -> bool:
        """Whether the loss has not come below `share` of its level."""
        if stands is None or stands.rising or stands.trained_before:
            return False
        return stands.rows >= self.rows / (1 + record.meta.ended) and stands.share >= share

    # -- equal units ------------------------------------------------------------------------------------------------

    def _equal(self, record: Record, stream: Stream, stands: Standing | None) -> Any:
        numbers = {o.number for o in stream.optimizers}
        equal, zero = [], []
        for entry in record.facts.of(EqualUnits):
            looks = [e for e in entry.examples if isinstance(e, EqualUnits)]
            if looks[0].optimizer not in numbers:
                continue
            if sum(e.apart <= self.same and e.spread <= self.same and not e.zero for e in looks) >= self.together:
                equal.append(looks[0])
            elif len(looks) > self.together and all(e.zero and e.spread <= self.same for e in looks):
                zero.append(looks[0])
        constant = self._constant(record, numbers)
        if not (equal or constant) and not (zero and self._stuck(record, stands, self.stuck)):
            return None
        facts = constant or equal or zero
        names = tuple(fact.parameter for fact in facts)
        one = facts[0]
        value = "" if math.isnan(one.value) else f" ({one.value:.3g})"
        gets = "get the same gradients" if equal or constant else "get no gradient"
        std = math.sqrt(2 / one.fan_in)
        return (
            f"all units of {list_names(names)} began with the same weights{value} and {gets}: they stay one unit",
            {"equal": bool(equal or constant), "value": one.value, "fan_in": one.fan_in, "std": std},
            names,
            (_kaiming(names, "relu", "now they are all alike", [math.sqrt(2 / fact.fan_in) for fact in facts]),),
        )

    @staticmethod
    def _constant(record: Record, numbers: set[int]) -> list[EqualUnits]:
        """Layers in a row of one number each: their gradients are equal, or, summed up to 0, nothing but rounding."""
        first = {
            (e.optimizer, e.parameter.split("=")[0].rpartition(".")[0]): e
            for entry in record.facts.of(EqualUnits)
            for e in entry.examples[:1]
            if isinstance(e, EqualUnits) and e.optimizer in numbers and e.value and not math.isnan(e.value)
        }
        found: list[EqualUnits] = []
        for fact in newest_of(record.facts.of(Signal)):
            for one, other in zip(fact.layers, fact.layers[1:]):
                pair = [first.get((fact.optimizer, name)) for name in (one, other)]
                found += [e for e in pair if e is not None and all(pair) and e not in found]
        return found

    # -- the signal -------------------------------------------------------------------------------------------------

    def _signal(self, record: Record, stream: Stream, stands: Standing | None, known: bool) -> Any:
        numbers = {o.number for o in stream.optimizers}
        for fact in newest_of(record.facts.of(Signal)):
            sizes = np.nan_to_num(np.asarray(fact.deviations), nan=np.inf)
            if fact.optimizer not in numbers or fact.normalised or len(sizes) < self.deep:
                continue
            if not 0 < sizes[0] < np.inf:
                continue
            blown = known and self._blown(record, stream)
            if self._dies(fact, sizes) and self._stuck(record, stands, self.stuck):
                what = "dies"
            elif self._grows(fact, sizes) and (blown or self._far_off(record, stands)):
                what = "grows"
            else:
                continue
            text = (
                f"at the first step the signal {what} on its way: a standard deviation of {sizes[0]:.3g} goes into "
                f"{fact.layers[0]}, {sizes[-1]:.3g} into {fact.layers[-1]}"
            )
            start, now, chance = float(stream.loss[0]), float(stream.loss[-1]), guess(record, stream)
            if stands is not None:
                start, now = stands.start, stands.now
            reference = f" (a blind guess: {chance:.4g})" if chance else ""
            stays = f"began at {start:.4g}{reference} and is no number now"
            if math.isfinite(now):
                stays = f"is at {now:.4g}{reference}"
            ratio, growth = float(sizes[-1] / sizes[0]), float(sizes[-1] / sizes[0]) ** (1 / (len(sizes) - 1))
            evidence = {"equal": False, "blown": blown, "ratio": ratio, "growth": growth, "start": start, "now": now}
            return f"{text}; the loss {stays}", evidence, fact.layers, self._cure(fact)
        return None

    def _dies(self, fact: Signal, sizes: Array) -> bool:
        """And the weights are to blame: far below what is usual; or below what ReLU needs, which explains it.

        Where nothing at all arrives, the numbers were too small to be written: what came so far tells.
        """
        there = int(np.flatnonzero(sizes > 0)[-1])
        ratio = float(sizes[there] / min(sizes[0], 1.0))  # of inputs that are large, little may be left
        if not ratio < self.dying:
            return False
        factors = self._factors(fact)[:there]
        needed = np.array([GAINS[f] if f in ("relu", "leaky_relu") else self.small for f in fact.functions[:there]])
        below, short = (float(np.minimum(1.0, factors / least).prod()) for least in (self.small, needed))
        return below <= self.dying or ratio >= self.dying * short

    def _grows(self, fact: Signal, sizes: Array) -> bool:
        """By each layer, or in all; and weights are above what is usual."""
        ratio = float(sizes[-1] / sizes[0])
        grown = ratio ** (1 / (len(sizes) - 1)) >= self.growing or ratio >= 1 / self.dying
        return grown and bool((self._factors(fact) > self.large).any())

    def _large(self, record: Record, stream: Stream, stands: Standing | None) -> Any:
        """Weights far above what is usual, where the signal does not tell: of the last layer, or recurrent ones."""
        if stands is None or stands.trained_before:
            return None
        told = large_logits(record, stream, self.large) if self._far_off(record, stands) else None
        told = told or large_recurrent(stream, self.recurrent)
        if told is None:
            return None
        what, names, std, usual = told
        loss = f"the loss began at {stands.start:.4g} and is at {stands.now:.4g} (a blind guess: {stands.chance:.4g})"
        evidence = {"equal": False, "recurrent": "recurrent" in what, "value": std, "std": usual}
        cure = f"start {list_names(names)} with nn.init.normal_(weight, std={usual:.2g}) (it is {std:.2g})"
        advice = Advice(cure, "start-weights", {"names": list(names), "stds": [usual]})
        told_of = {**evidence, "start": stands.start, "now": stands.now}
        return f"{what}; {loss if stands.chance else loss.partition(' (')[0]}", told_of, names, (advice,)

    @staticmethod
    def _factors(fact: Signal) -> Array:
        """The weights' rms times the root of how many a unit has: what they make of values that are independent."""
        return np.asarray(np.asarray(fact.weights) * np.sqrt(fact.fan_in))

    def _blown(self, record: Record, stream: Stream) -> bool:
        """Whether the loss began beyond reason and was soon no number any more."""
        losses, chance = stream.loss[: self.soon], guess(record, stream)
        if not len(losses) or np.isfinite(losses).all() or np.isfinite(stream.loss[-1]):
            return False
        return not math.isfinite(losses[0]) or 0 < self.beyond * chance <= float(losses[0])

    def _far_off(self, record: Record, stands: Standing | None) -> bool:
        if stands is None or not stands.chance or stands.start < self.beyond * stands.chance:
            return False
        return self._stuck(record, stands, self.at_guess)

    @staticmethod
    def _cure(fact: Signal) -> tuple[Advice, ...]:
        """For the layer whose weights are farthest from gain / sqrt(fan_in)."""
        layers = list(zip(fact.layers, fact.functions, fact.weights, fact.fan_in))[:-1]
        want = [GAINS.get(function, 1.0) / math.sqrt(fan) for _, function, _, fan in layers]
        far = [math.log(max(now, 1e-30) / to) for (_, _, now, _), to in zip(layers, want)]
        at = int(np.argmax(np.abs(far)))
        _, function, now, _ = layers[at]
        alike = [i for i, its in enumerate(far) if its * far[at] > 0 and abs(its) > 0.5 * abs(far[at])]
        names = tuple(layers[i][0] for i in alike)
        advice = [_kaiming(names, function, f"it is {now:.2g}", [want[i] for i in alike], want[at])]
        if function == "sigmoid":
            advice.insert(0, Advice("use nn.ReLU() instead of nn.Sigmoid(), which shrinks what passes it fourfold"))
        return (*advice, Advice("or normalise between the layers: nn.BatchNorm or nn.LayerNorm"))


def _kaiming(names: tuple[str, ...], function: str, now: str, stds: list[float], told: float = 0.0) -> Advice:
    """`stds` # (names,); `told` is the one of them that is told."""
    std = told or stds[0]
    how = f'nn.init.kaiming_normal_(weight, nonlinearity="{function}")'
    if function in ("", "sigmoid", "selu"):
        how = f"nn.init.normal_(weight, std={std:.2g})"
    text = f"start {list_names(names)} with {how}: a std of {std:.2g} ({now})"
    return Advice(text, "start-weights", {"names": list(names), "stds": stds})


def _of_optimizer(advice: Advice, optimizer: OptimizerRecord) -> Advice:
    """The same with the parameters' places in the optimizer, which a second run gives again."""
    if advice.action != "start-weights":
        return advice
    places = {}
    for place, parameter in enumerate(optimizer.parameters):
        for name in (parameter.name, *parameter.name.split("=")):  # of tied weights, all of them
            places[name] = places[name.removesuffix(".weight")] = place
    names = advice.values["names"]
    if not all(name in places for name in names):
        return Advice(advice.text)
    values = {"optimizer": optimizer.number, "indices": [places[name] for name in names]}
    return replace(advice, values={**values, "stds": advice.values["stds"]})
