"""GS403, GS404, GS503, GS504 and GS506 on hand-made records: found, quiet, just on either side of each threshold."""
from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.diagnosis import FindingLog, diagnose
from gradscope.events import GradState, Point
from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import Fact
from gradscope.facts.loss import ConstantGuess, LossFunction, LossKind
from gradscope.facts.operations import BlockedGradient, LossBroadcast, NormalizedOutput, StackedLinear
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.record.table import array_columns
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import RULES
from gradscope.rules.gradients.gradient_all_zero import GradientAllZero
from gradscope.rules.gradients.gradient_vanishing import GradientVanishing
from gradscope.rules.model.loss_broadcast import LossBroadcasts
from gradscope.rules.model.normalized_output_into_loss import NormalizedOutputIntoLoss
from gradscope.rules.model.stacked_linear_layers import StackedLinearLayers
from tests.records import BACKWARD, optimizer, record

TEN = LossFunction(0, 0, "cross-entropy", 10)
CHANCE = math.log(10)


def noisy(level: Any, rows: int, sigma: float = 0.02) -> list[float]:
    return list(level + sigma * np.random.default_rng(0).standard_normal(rows))


def net(
    gradients: Sequence[float], losses: Sequence[float], kind: str = "SGD", update: float = 0.01, **more: Any
) -> OptimizerRecord:
    """Layers whose gradients have these norms in each row (0: the state is ZERO), on weights of norm 1."""
    names = [f"layers.{i}.weight" for i in range(len(gradients))]
    made = replace(optimizer(losses=losses, names=names, shapes=[(4, 4)] * len(names), **more), kind=kind)
    rows = len(losses)
    arrays = {n: np.zeros((rows, *s), d) for n, (d, s) in array_columns(len(names)).items()}
    arrays["row"][:] = np.arange(rows)
    arrays["norm"][:] = np.nan
    arrays["norm"][:, Point.BEFORE_STEP] = gradients
    state = np.where(np.array(gradients) == 0, GradState.ZERO, GradState.FRESH)
    arrays["state"][:, Point.BEFORE_STEP] = state
    arrays["weight_norm"][:], arrays["update_norm"][:] = 1, update
    return replace(made, arrays=arrays)


def found(
    rule: Rule, *optimizers: OptimizerRecord, facts: Sequence[Fact] = (), status: str = "running"
) -> list[Finding]:
    return list(rule.check(record(*optimizers, facts=facts, status=status)))


def told(rule: Rule, *optimizers: OptimizerRecord, **more: Any) -> list[tuple[str, str]]:
    return [(f.code, f.severity) for f in found(rule, *optimizers, **more)]


# -- GS403 -------------------------------------------------------------------------------------------------------------

FADING = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
VANISHES = [("GS403", "warning")]


def test_gs403_names_the_layers_the_factor_and_the_level() -> None:
    """The first against the last, the factor between neighbours, since when, and a cure."""
    [finding] = found(GradientVanishing(), net(FADING, noisy(CHANCE, 120)), facts=[TEN])
    assert (0, 119) == finding.steps and BACKWARD == finding.where
    assert 0.1 == pytest.approx(finding.evidence["factor"], rel=1e-3)
    assert "layers.0.weight gets 0.0001 of what layers.4.weight gets" in finding.text
    assert "kaiming" in finding.advice[0].text


@pytest.mark.parametrize(
    "first, rows, kind, status, expected",
    [
        (0.9e-4, 100, "SGD", "running", VANISHES),
        (1.1e-4, 100, "SGD", "running", []),  # 1.1e-3 of the last one's
        (0.9e-4, 99, "SGD", "running", []),
        (0.9e-5, 300, "Adam", "running", VANISHES),
        (1.1e-5, 300, "Adam", "running", []),
        (0.9e-5, 299, "Adam", "running", []),
        (0.9e-5, 200, "Adam", "finished", VANISHES),
        (0.9e-5, 199, "Adam", "finished", []),
    ],
)
def test_gs403_thresholds(first: float, rows: int, kind: str, status: str, expected: Any) -> None:
    """Just below, just above; adaptive optimizers get more time and a smaller ratio."""
    sick = net([first, 1e-3, 1e-2, 0.05, 0.1], noisy(CHANCE, rows), kind)
    assert expected == told(GradientVanishing(), sick, facts=[TEN], status=status)


@pytest.mark.parametrize(
    "losses",
    [
        noisy(CHANCE * np.linspace(1, 0.9, 400), 400),
        noisy(np.r_[np.full(200, CHANCE), np.full(200, 1.5)], 400),
        noisy(np.r_[np.full(50, CHANCE), np.full(350, 2.0)], 400),  # a plateau after a first fall
        noisy(0.05, 400, 0.005),  # fine-tuning
        [*noisy(CHANCE, 399), math.nan],
    ],
    ids=["falling", "fallen", "plateau", "low from the start", "NaN"],
)
def test_gs403_is_silent_where_the_loss_falls_or_fell(losses: list[float]) -> None:
    """Whatever the gradients look like."""
    assert [] == told(GradientVanishing(), net(FADING, losses), facts=[TEN])


def test_gs403_is_silent_on_other_shapes_and_other_losses() -> None:
    """Small in the middle; three layers; an lr that rises still; a loss that may rise."""
    flat = noisy(CHANCE, 200)
    assert [] == told(GradientVanishing(), net([1e-5, 1, 1e-6, 1e-3, 0.1], flat), facts=[TEN])
    assert [] == told(GradientVanishing(), net(FADING[::2], flat), facts=[TEN])
    assert [] == told(GradientVanishing(), net(FADING, flat, lr=np.linspace(0, 0.1, 200)), facts=[TEN])
    assert [] == told(GradientVanishing(), net(FADING, flat), facts=[TEN, LossKind(0, 0, "policy")])
    assert VANISHES == told(GradientVanishing(), net(FADING, flat), facts=[TEN])


def test_gs403_of_a_regression_asks_for_the_first_losses() -> None:
    """No chance level is known: the loss must stay where it began."""
    other = LossFunction(0, 0, "other")
    assert VANISHES == told(GradientVanishing(), net(FADING, noisy(1.0, 200, 0.05)), facts=[other])
    fallen = noisy(np.r_[np.full(16, 5.0), np.full(184, 1.0)], 200)
    assert [] == told(GradientVanishing(), net(FADING, fallen), facts=[other])


def spreads(count: int = 4, variance: float = 1.0) -> list[Fact]:
    return [LossFunction(0, 0, "other"), *(ConstantGuess(row, 0, variance) for row in range(count))]


@pytest.mark.parametrize(
    "level, facts, expected",
    [
        (1.0, spreads(), VANISHES),
        (0.95, spreads(), []),
        (1.0, spreads(3), []),  # too few batches to know
        (1.0, spreads(variance=3.0), []),  # it knows much already
    ],
)
def test_gs403_of_a_squared_error_asks_for_the_spread_of_the_targets(
    level: float, facts: list[Fact], expected: list[tuple[str, str]]
) -> None:
    """A mean that is learned first is no learning: what counts is the variance of the targets."""
    losses = noisy(np.r_[np.full(20, 50.0), np.full(280, level)], 300)
    assert expected == told(GradientVanishing(), net(FADING, losses), facts=facts)


def test_gs403_stays_until_the_loss_comes_down() -> None:
    """Then it is a thing of the past."""
    rule, flat = GradientVanishing(), net(FADING, noisy(CHANCE, 200))
    log = FindingLog((rule,))
    for newest in (CHANCE, 0.1):  # one batch says nothing
        losses = noisy(np.r_[np.full(199, CHANCE), newest], 200)
        log.update(diagnose(record(net(FADING, losses), facts=[TEN]), (rule,)), 200, record(flat))
        assert ["warning"] == [f.severity for f in log.findings]
    fallen = record(net(FADING, noisy(np.r_[np.full(200, CHANCE), np.full(100, 1.0)], 300)), facts=[TEN])
    log.update(diagnose(fallen, (rule,)), 300, fallen)
    assert ["info"] == [f.severity for f in log.findings]


def test_gs403_gs404_and_gs506_come_before_what_follows_from_them() -> None:
    """One alarm: the flat loss and the learning rate are folded under it."""
    for rule in (GradientVanishing(), GradientAllZero(), StackedLinearLayers(), NormalizedOutputIntoLoss()):
        assert {"GS204", "GS302"} <= set(rule.explains)
    assert {"GS204", "GS302"} <= set(LossBroadcasts().explains)
    diagnosis = diagnose(record(net(FADING, noisy(CHANCE, 600), update=1e-6), facts=[TEN], status="finished"), RULES)
    first, *rest = [f for f in diagnosis.findings if f.severity != "info"]
    assert "GS403" == first.code and {"GS204", "GS302"} == {f.code for f in rest if f.caused_by == "GS403"}


# -- GS404 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gradients, rows, operation, expected",
    [
        ([0, 0, 0, 1], 3, "round", "warning"),
        ([0, 0, 0, 1], 2, "round", None),
        ([0, 1, 1, 1], 3, "sign", "warning"),
        ([1, 0, 0, 0], 3, "round", None),  # another way there is open
        ([0, 0, 1, 1], 3, "softmax-of-one", "warning"),
        ([0, 1, 1, 1], 3, "softmax-of-one", "info"),  # attention to one key
        ([0, 0, 0, 1], 50, "clamp", "warning"),
        ([0, 0, 0, 1], 49, "clamp", None),
        ([0, 1, 1, 1], 50, "clamp", None),
    ],
)
def test_gs404_behind_an_operation(gradients: list[float], rows: int, operation: str, expected: str | None) -> None:
    """After so many rows, by how much of the model it holds back."""
    fact = BlockedGradient(0, 0, operation, 0, BACKWARD)
    findings = found(GradientAllZero(), net(gradients, noisy(1.0, rows)), facts=[fact])
    assert [expected] * (expected is not None) == [f.severity for f in findings]
    if findings:
        assert tuple(f"layers.{i}.weight" for i, g in enumerate(gradients) if g == 0) == findings[0].parameters
        assert "is exactly 0 since step 0" in findings[0].text and BACKWARD == findings[0].where


def test_gs404_a_margin_that_is_kept_is_no_clamp() -> None:
    """The loss is 0; or it falls by another way."""
    fact = BlockedGradient(0, 0, "clamp", 0, BACKWARD)
    assert [] == found(GradientAllZero(), net([0, 0], [1.0] * 10 + [0.0] * 90), facts=[fact])
    assert [] == found(GradientAllZero(), net([0, 0, 0, 1], list(np.linspace(2, 1, 100))), facts=[fact])


@pytest.mark.parametrize(
    "gradients, losses, expected",
    [
        ([0, 0, 1, 1], noisy(1.0, 101), "warning"),
        ([0, 0, 1, 1], noisy(1.0, 100), None),
        ([0, 1, 1, 1], noisy(1.0, 101), "info"),  # a pruned layer, an expert nobody asks
        ([0, 0, 1, 1], list(np.linspace(2, 1, 101)), "info"),  # a term that is not weighed in yet
        ([0, 0, 0, 0], [1.0] * 5 + [0.0] * 101, None),
        ([1, 1, 1, 1], noisy(1.0, 101), None),
    ],
)
def test_gs404_without_a_known_operation(gradients: list[float], losses: list[float], expected: str | None) -> None:
    """A warning only where most weights get nothing and the loss stays where it is."""
    severities = [f.severity for f in found(GradientAllZero(), net(gradients, losses))]
    assert [expected] * (expected is not None) == severities


@pytest.mark.parametrize("rest, count", [(0.9e-4, 1), (1.1e-4, 0)])
def test_gs404_of_a_single_value_normalised_allows_for_rounding(rest: float, count: int) -> None:
    """What is left there is an error of rounding; elsewhere 0 is 0."""
    small = net([rest, rest, 1.0], noisy(1.0, 10))
    fact = BlockedGradient(0, 0, "normalised-one", 0, BACKWARD)
    findings = found(GradientAllZero(), small, facts=[fact])
    assert count == len(findings)
    assert all("but for rounding 0" in finding.text for finding in findings)
    assert [] == found(GradientAllZero(), small, facts=[BlockedGradient(0, 0, "round", 0, BACKWARD)])


def test_gs404_says_since_when() -> None:
    """Units may die late."""
    sick = net([0, 0, 1], noisy(1.0, 300))
    sick.arrays["state"][:120, Point.BEFORE_STEP] = GradState.FRESH
    [finding] = found(GradientAllZero(), sick)
    assert 120 == finding.evidence["since"] == finding.steps[0]


# -- GS503 and GS504 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output, loss, severity, words",
    [
        ("softmax", "cross-entropy", "warning", "leave out the softmax"),
        ("sigmoid", "bce-with-logits", "warning", "leave out the sigmoid"),
        ("sigmoid", "cross-entropy", "warning", "leave out the sigmoid"),
        ("log-softmax", "cross-entropy", "info", "changes nothing"),
        ("logits", "nll", "warning", "log_softmax(output, dim=1)"),
        ("softmax", "nll", "warning", "log_softmax in place of softmax"),
    ],
)
def test_gs503_says_what_the_loss_takes(output: str, loss: str, severity: str, words: str) -> None:
    """At once, at the backward, by the layer's name."""
    fact = NormalizedOutput(0, 0, output, loss, 1, BACKWARD)
    [finding] = found(NormalizedOutputIntoLoss(), optimizer(), facts=[fact])
    assert (severity, BACKWARD, ("layer.bias",)) == (finding.severity, finding.where, finding.parameters)
    assert words in finding.advice[0].text and "layer" in finding.text


@pytest.mark.parametrize(
    "prediction, target, words",
    [
        ("(64, 1)", "(64,)", "prediction.squeeze(1), or target.unsqueeze(1)"),
        ("(64,)", "(64, 1)", "prediction.unsqueeze(1), or target.squeeze(1)"),
        ("(8, 1, 4, 4)", "(8, 4, 4)", "prediction.squeeze(1), or target.unsqueeze(1)"),
        ("(8, 4, 4)", "(8, 1, 4, 4)", "prediction.unsqueeze(1), or target.squeeze(1)"),
    ],
)
def test_gs504_says_the_shapes_and_which_to_change(prediction: str, target: str, words: str) -> None:
    """At once, whichever side lacks the dimension."""
    fact = LossBroadcast(0, 0, "mse", prediction, target, "(64, 64)", BACKWARD)
    [finding] = found(LossBroadcasts(), optimizer(), facts=[fact])
    assert ("warning", BACKWARD) == (finding.severity, finding.where)
    assert f"{prediction} beside {target} makes (64, 64)" in finding.text
    assert words in finding.advice[0].text


def test_findings_of_the_graph_stay() -> None:
    """They were true when they were seen; a later diagnosis that lacks them takes nothing back."""
    for rule in (NormalizedOutputIntoLoss(), LossBroadcasts()):
        facts = [
            NormalizedOutput(0, 0, "softmax", "cross-entropy", 0, BACKWARD),
            LossBroadcast(0, 0, "mse", "(2, 1)", "(2,)", "(2, 2)", BACKWARD),
        ]
        log = FindingLog((rule,))
        log.update(diagnose(record(optimizer(), facts=facts), (rule,)), 1, record())
        log.update(diagnose(record(optimizer()), (rule,)), 2, record())
        assert ["warning"] == [f.severity for f in log.findings]


# -- GS506 -------------------------------------------------------------------------------------------------------------


def pair(narrow: bool = False, whole: bool = False, between: str = "") -> StackedLinear:
    return StackedLinear(0, 0, 0, 1, "Linear", between, narrow, whole, BACKWARD)


@pytest.mark.parametrize(
    "fact, rows, update, expected",
    [
        (pair(), 300, 0.1, "info"),
        (pair(narrow=True), 300, 0.1, None),
        (pair(whole=True), 200, 0.1, "warning"),
        (pair(whole=True), 199, 0.1, "info"),
        (pair(whole=True), 300, 1e-3, "info"),  # the weights have not moved: another matter
        (pair(whole=True, narrow=True), 200, 0.1, "warning"),
        (pair(whole=True, between="BatchNorm"), 200, 0.1, "warning"),
        (pair(whole=True, between="BatchNorm"), 100, 0.1, "info"),
        (pair(between="BatchNorm"), 100, 0.1, None),
    ],
)
def test_gs506_weighs_the_whole(fact: StackedLinear, rows: int, update: float, expected: str | None) -> None:
    """A warning only where the whole model is linear, moves, and its loss does not."""
    flat = net([1, 1, 1], noisy(CHANCE, rows), update=update)
    severities = [f.severity for f in found(StackedLinearLayers(), flat, facts=[TEN, fact])]
    assert [expected] * (expected is not None) == severities


def test_gs506_of_a_deep_linear_network_that_learns_is_info() -> None:
    """On purpose, or not: it does no harm."""
    falling = net([1, 1, 1], list(np.linspace(2, 1, 300)), update=0.1)
    [finding] = found(StackedLinearLayers(), falling, facts=[pair(whole=True)])
    assert "info" == finding.severity
    assert "linear layers are fed straight into linear layers: layers.0 into layers.1" == finding.text
    assert "nn.ReLU() between layers.0 and layers.1" in finding.advice[0].text


def slowing(low: float, high: float = CHANCE, rows: int = 400, sigma: float = 0.02) -> list[float]:
    """From a blind guess down to `low` of it in 40 rows or so."""
    return noisy(high * (low + (1 - low) * np.exp(-np.arange(rows) / 40)), rows, sigma)


LINEAR, DROPS, NORMS = pair(whole=True), pair(whole=True, between="Dropout"), pair(whole=True, between="BatchNorm")
SQUARED = [LossFunction(0, 0, "other", 0, "squared error"), *(ConstantGuess(row, 0, 1.0) for row in range(4))]


@pytest.mark.parametrize(
    "losses, facts, expected",
    [
        (slowing(0.55), [TEN, LINEAR], "warning"),
        (slowing(0.45), [TEN, LINEAR], "info"),
        (slowing(0.55, rows=190), [TEN, LINEAR], "info"),
        (slowing(0.55, sigma=1.0), [TEN, LINEAR], "info"),  # who can tell
        (noisy(CHANCE * np.linspace(1, 0.6, 400), 400), [TEN, LINEAR], "info"),  # it falls
        (noisy(0.7 * CHANCE, 400), [TEN, LINEAR], "info"),  # fine-tuning
        (slowing(0.55), [TEN, pair(whole=True, narrow=True)], None),  # low rank
        (slowing(0.55), [TEN, pair()], "info"),
        (slowing(0.55, high=1.0), [*spreads(), LINEAR], "info"),  # a squared error
        (slowing(0.55, high=1.0), [*SQUARED, LINEAR], "info"),
        (slowing(0.55, high=1.0), [*SQUARED, NORMS], "warning"),
        (slowing(0.55, high=1.0), [*SQUARED, DROPS], "warning"),
        (slowing(0.45, high=1.0), [*SQUARED, NORMS], "info"),
        (slowing(0.55, sigma=0.25), [TEN, DROPS], "warning"),
        (slowing(0.55, sigma=0.4), [TEN, LINEAR], "info"),
        (slowing(0.55, sigma=1.5), [TEN, DROPS], "info"),
        (noisy(CHANCE * np.linspace(1, 0.6, 400), 400), [TEN, DROPS], "info"),
    ],
)
def test_gs506_of_classes_that_no_line_parts(losses: list[float], facts: list[Fact], expected: str | None) -> None:
    """A cross entropy that has come down some way and stopped is warned of, of a whole linear model."""
    severities = [f.severity for f in found(StackedLinearLayers(), net([1, 1, 1], losses, update=0.1), facts=facts)]
    assert [expected] * (expected is not None) == severities


# -- facts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fact",
    [
        NormalizedOutput(3, 0, "softmax", "cross-entropy", 1, BACKWARD),
        LossBroadcast(3, 0, "mse", "(2, 1)", "(2,)", "(2, 2)", BACKWARD),
        pair(),
        BlockedGradient(3, 0, "round", 1, None),
        ConstantGuess(3, 0, 0.5),
    ],
)
def test_facts_survive_json(fact: Fact) -> None:
    """As they are written and read."""
    assert fact == from_json(to_json(fact))


def test_rules_leave_empty_records_alone() -> None:
    """Facts of an optimizer that never stepped are nobody's."""
    facts = [NormalizedOutput(0, 5, "softmax", "cross-entropy", 0), BlockedGradient(0, 5, "round", 0), pair()]
    empty: Record = record(facts=facts)
    for rule in (NormalizedOutputIntoLoss(), LossBroadcasts(), StackedLinearLayers(), GradientAllZero()):
        assert [] == list(rule.check(empty))
