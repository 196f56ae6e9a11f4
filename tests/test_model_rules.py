"""GS501, GS502, GS505 and GS507 on hand-made records: quiet, found, just below and just above their thresholds."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import Fact
from gradscope.facts.loss import ConstantGuess, LossFunction, SharedLoss
from gradscope.facts.model import (
    BatchStatistics,
    EqualUnits,
    Firing,
    GraphUnseen,
    Saturation,
    Signal,
)
from gradscope.facts.operations import BlockedGradient
from gradscope.findings import Finding
from gradscope.record.table import array_columns
from gradscope.rules.base import Rule
from gradscope.rules.model.batchnorm_small_batch import BatchnormSmallBatch
from gradscope.rules.model.dead_activations import DeadActivations
from gradscope.rules.model.poor_initialization import PoorInitialization
from gradscope.rules.model.saturated_activations import SaturatedActivations
from tests.records import optimizer, record

LOOKS = (0, 1, 2, 3, 64, 65, 66, 128, 129, 130)
TEN = LossFunction(0, 0, "cross-entropy", 10)
STUCK = [math.log(10)] * 140
NAN = float("nan")


def found(rule: Rule, facts: list[Fact], losses: list[float] = STUCK, status: str = "running") -> list[Finding]:
    return list(rule.check(record(optimizer(losses=losses), facts=facts, status=status)))


def stands(share: float, rows: int = 140) -> list[float]:
    """A run that begins at a blind guess, and is now at this share of it."""
    return [math.log(10)] * 20 + [share * math.log(10)] * (rows - 20)


# -- GS501 -------------------------------------------------------------------------------------------------------------


def firings(
    dead: float, born: float | None = None, units: int = 100, bias: float = 0.0, looks: int = 7, batch: int = 32
) -> list[Fact]:
    """A ReLU layer looked at in the usual rows: at first, and since then, so many of its units were silent."""
    facts: list[Fact] = [TEN]
    for i, row in enumerate(LOOKS[:looks]):
        share = (dead if born is None else born) if row == 0 else dead
        windows = [min(w, i + 1) for w in (1, 3, 6, 9)]
        silent = tuple(round(units * share) for _ in windows)
        samples, since = tuple(batch * w for w in windows), tuple(LOOKS[i + 1 - w] for w in windows)
        facts.append(Firing(row, 0, "fc1", "ReLU", units, silent, samples, since, 0.3, bias))
    return facts


def test_dead_units_are_told_with_layer_and_number() -> None:
    """How many, of which layer, since when; the biases that killed them are in the advice."""
    (finding,) = found(DeadActivations(), firings(1.0, bias=-3.0))
    assert ("warning", (0, 139), ("fc1",)) == (finding.severity, finding.steps, finding.parameters)
    assert finding.text.startswith("100 of 100 units of the ReLU after fc1 have not fired since step 0")
    assert "start fc1.bias at 0" in finding.advice[0].text and "-3" in finding.advice[0].text


def test_units_that_were_alive_at_first_were_killed_by_the_steps() -> None:
    """Then the learning rate is what to change, and the finding begins after the first row."""
    (finding,) = found(DeadActivations(), firings(1.0, born=0.1))
    assert ("set-lr", 1) == (finding.advice[0].action, finding.steps[0])


@pytest.mark.parametrize(
    "dead, share, severity",
    [
        (0.89, 0.75, "info"),
        (0.91, 0.75, "warning"),
        (0.91, 0.28, "info"),
        (0.91, 0.32, "warning"),
        (0.49, 1.0, None),
        (0.51, 1.0, "warning"),
        (0.51, 0.96, "info"),
        (0.51, 0.98, "warning"),
        (1.0, 0.05, "info"),
    ],
)
def test_dead_units_are_weighed_against_the_loss(dead: float, share: float, severity: str | None) -> None:
    """Nine in ten, and a loss above 0.3 of a guess; half, and above 0.97: just below and just above."""
    assert [severity] * bool(severity) == [f.severity for f in found(DeadActivations(), firings(dead), stands(share))]


def test_units_must_have_been_silent_over_many_batches() -> None:
    """Four batches of 32 say too little, so do ten of 4; four of 128 are enough, and nine of 4 where all is dead."""
    assert [] == found(DeadActivations(), firings(0.9, looks=4), STUCK[:60])
    assert [] == found(DeadActivations(), firings(0.9, looks=10, batch=4))
    assert 1 == len(found(DeadActivations(), firings(1.0, looks=10, batch=4)))
    large = [
        Firing(row, 0, "f", "ReLU", 9, (9,) * 4, (128, 384, 512, 512), (row, 1, 0, 0), 0.0, 0.0) for row in range(4)
    ]
    assert 1 == len(found(DeadActivations(), [TEN, *large], STUCK[:60]))


def test_a_few_units_and_models_that_were_good_before_are_not_warned_of() -> None:
    """Two of three units is nothing; a dead output, one unit of one, is something: it holds the loss. Where the loss
    comes down all the same, it was a gate (a squeeze to two units). Fine-tuning has its own level."""
    assert [] == found(DeadActivations(), firings(0.67, units=3))
    assert ["warning"] == [f.severity for f in found(DeadActivations(), firings(1.0, units=1), STUCK)]
    assert ["info"] == [f.severity for f in found(DeadActivations(), firings(1.0, units=2), stands(0.45))]
    assert ["warning"] == [f.severity for f in found(DeadActivations(), firings(1.0, units=4), stands(0.45))]
    assert ["info"] == [f.severity for f in found(DeadActivations(), firings(1.0), [0.2] * 140)]


@pytest.mark.parametrize(
    "dead, born, bias, share, severity",
    [
        (0.76, 0.76, -1.1, 0.27, "warning"),
        (0.74, 0.76, -1.1, 0.27, "info"),
        (0.76, 0.74, -1.1, 0.27, "info"),
        (0.76, 0.76, -0.9, 0.27, "info"),
        (0.76, 0.76, NAN, 0.27, "info"),
        (0.76, 0.76, -1.1, 0.23, "info"),
    ],
)
def test_units_born_dead_by_their_biases_hold_the_loss_back(
    dead: float, born: float, bias: float, share: float, severity: str
) -> None:
    """Three quarters of a layer were never there: a quarter of a guess is poor then."""
    findings = found(DeadActivations(), firings(dead, born, bias=bias), stands(share))
    assert [severity] == [f.severity for f in findings]


@pytest.mark.parametrize("now, severity", [(15.0, "info"), (17.0, "warning"), (2.4, "warning")])
def test_a_loss_that_comes_down_from_far_above_a_guess_is_not_stuck(now: float, severity: str) -> None:
    """It began at 20, a guess is worth 2.3: at a guess, or where it began, it is."""
    assert [severity] == [f.severity for f in found(DeadActivations(), firings(0.6), [20.0] * 20 + [now] * 120)]


def test_a_clamp_that_cuts_off_all_is_another_rules() -> None:
    """One that cuts off much is a ReLU written out."""
    clamps = [TEN, *(replace(f, function="clamp") for f in firings(1.0)[1:] if isinstance(f, Firing))]
    assert 1 == len(found(DeadActivations(), clamps))
    assert [] == found(DeadActivations(), [*clamps, BlockedGradient(0, 0, "clamp", 0)])


def test_what_cannot_be_seen_is_said() -> None:
    """Compiled graphs and checkpointed ones; adversarial losses are not judged."""
    unseen = record(optimizer(losses=STUCK), facts=[GraphUnseen(0, 0, "torch.compile")])
    for rule in (DeadActivations(), SaturatedActivations()):
        assert "torch.compile hides" in rule.not_judged(unseen)
    assert [] == found(DeadActivations(), [*firings(1.0), SharedLoss(0, 0, 1)])


# -- GS502 -------------------------------------------------------------------------------------------------------------


def saturations(share: float, born: float | None = None, **more: object) -> list[Fact]:
    values = {"inputs": 1.0, "weights": 2.0, "fan_in": 64, "first": True} | more
    shares = [(row, share if born is None or row > 0 else born) for row in LOOKS]
    return [TEN, *(Saturation(row, 0, "fc1", "Tanh", 64, 9, s, **values) for row, s in shares)]


@pytest.mark.parametrize("share, count", [(0.59, 0), (0.61, 1)])
def test_six_of_ten_values_are_asked_for(share: float, count: int) -> None:
    """Just below, just above."""
    assert count == len(found(SaturatedActivations(), saturations(share)))


@pytest.mark.parametrize("share, count", [(0.78, 0), (0.82, 1)])
def test_saturation_without_harm_is_none(share: float, count: int) -> None:
    """The loss must be above 0.8 of a guess: a converged classifier sits at its asymptotes."""
    assert count == len(found(SaturatedActivations(), saturations(0.9), stands(share)))


def test_large_inputs_and_large_weights_are_told_apart() -> None:
    """Each with its number: what to divide by, how much smaller to start."""
    (inputs,) = found(SaturatedActivations(), saturations(1.0, inputs=124.0))
    assert "divide it by 124" in inputs.advice[0].text
    (weights,) = found(SaturatedActivations(), saturations(1.0))
    assert "9.6 times smaller" in weights.advice[0].text and "std=0.21" in weights.advice[0].text


@pytest.mark.parametrize(
    "share, level, layers, weights, inputs, count",
    [
        (0.91, 0.52, 2, 2.0, 1.0, 1),
        (0.89, 0.52, 2, 2.0, 1.0, 0),
        (0.91, 0.48, 2, 2.0, 1.0, 0),
        (0.91, 0.52, 1, 2.0, 1.0, 0),  # random features; a code of bits
        (0.91, 0.52, 2, 1.0, 1.0, 0),  # 4.8 times the usual weights
        (0.91, 0.52, 1, 0.1, 11.0, 1),
        (0.91, 0.52, 1, 0.1, 9.0, 0),
    ],
)
def test_layers_pinned_from_the_start_hold_the_loss_back(
    share: float, level: float, layers: int, weights: float, inputs: float, count: int
) -> None:
    """Half of a guess is enough then, where large weights of two layers or large inputs of the first have done it."""
    facts = saturations(share, weights=weights, inputs=inputs)
    if layers == 2:
        more = saturations(share, weights=weights, first=False)[1:]
        facts += [replace(fact, place="fc2") for fact in more if isinstance(fact, Saturation)]
    findings = found(SaturatedActivations(), facts, stands(level))
    assert ["warning"] * count == [f.severity for f in findings]
    assert not findings or "the loss is still at" in findings[0].text


def test_layers_that_the_steps_have_pinned_do_not() -> None:
    """They were free at first."""
    assert [] == found(SaturatedActivations(), saturations(0.99, born=0.5, inputs=99.0), stands(0.6))


def test_what_the_steps_have_saturated_is_info() -> None:
    """The rule on learning rates tells that."""
    (finding,) = found(SaturatedActivations(), saturations(0.9, born=0.1))
    assert ("info", 1, "set-lr") == (finding.severity, finding.steps[0], finding.advice[0].action)


def test_a_level_that_is_not_known_is_not_judged() -> None:
    """Without the loss function nobody knows what a guess is worth; a mean squared error has its targets' variance."""
    facts = saturations(1.0)[1:]
    assert [] == found(SaturatedActivations(), [LossFunction(0, 0, "other"), *facts], [1.0] * 140)
    for batches, count in ((3, 0), (4, 1)):
        known = [LossFunction(0, 0, "other"), *(ConstantGuess(row, 0, 1.0 + row / 99) for row in range(batches))]
        assert count == len(found(SaturatedActivations(), [*known, *facts], [1.0] * 140))


@pytest.mark.parametrize("rows, status, count", [(99, "running", 0), (101, "running", 1), (51, "finished", 1)])
def test_a_hundred_rows_or_half_at_the_end(rows: int, status: str, count: int) -> None:
    """A slow start is none."""
    assert count == len(found(SaturatedActivations(), saturations(1.0), STUCK[:rows], status))


# -- GS505 -------------------------------------------------------------------------------------------------------------


def equal(apart: float, spread: float = 0.0, zero: bool = False, looks: int = 3) -> list[Fact]:
    facts = [EqualUnits(row, 0, "fc1.weight", spread, apart, zero, 0.05, 64) for row in LOOKS[1 : looks + 1]]
    return [TEN, *facts]


def test_equal_units_with_equal_gradients_are_told_at_once() -> None:
    """Three rows are enough, whatever the loss does; with the std to use."""
    (finding,) = found(PoorInitialization(), equal(1e-7), stands(0.5, 30))
    assert ("fc1.weight",) == finding.parameters and "(0.05) and get the same gradients" in finding.text
    assert "std of 0.18" in finding.advice[0].text


@pytest.mark.parametrize("apart, looks, count", [(2e-3, 3, 0), (5e-4, 3, 1), (5e-4, 1, 0), (0.5, 3, 0)])
def test_gradients_that_differ_make_the_units_differ(apart: float, looks: int, count: int) -> None:
    """A head of zeros, LoRA's B: their gradients differ from row to row."""
    assert count == len(found(PoorInitialization(), equal(apart, looks=looks), stands(0.5, 30)))


def test_no_gradient_at_all_needs_a_loss_that_is_stuck() -> None:
    """An adapter of zeros behind one of zeros learns a step later, or never."""
    assert [] == found(PoorInitialization(), equal(0.0, zero=True, looks=4), stands(0.5))
    (finding,) = found(PoorInitialization(), equal(0.0, zero=True, looks=4))
    assert "get no gradient" in finding.text
    unlocked = [*equal(0.0, zero=True), EqualUnits(64, 0, "fc1.weight", 0.0, 0.7, False, 0.0, 64)]
    assert [] == found(PoorInitialization(), unlocked)


@pytest.mark.parametrize("second, count", [(0.05, 1), (0.0, 0), (NAN, 0)])
def test_two_layers_in_a_row_of_one_number_each(second: float, count: int) -> None:
    """Their gradients may be nothing but rounding, which differs; zeros are started from on purpose."""
    layers = [EqualUnits(1, 0, f"fc{i}.weight", 0.1, 0.9, False, v, 64) for i, v in enumerate((0.05, second))]
    assert count == len(found(PoorInitialization(), [*layers, *signal(1.0, 1.0, 1.0)], stands(0.5, 30)))


def signal(*sizes: float, normalised: bool = False, function: str = "relu", weights: float = 0.07) -> list[Fact]:
    layers = tuple(f"fc{i}" for i in range(len(sizes)))
    functions = (function,) * (len(sizes) - 1) + ("",)
    fact = Signal(0, 0, layers, sizes, (weights,) * len(sizes), (64,) * len(sizes), functions, normalised)
    return [TEN, fact]


@pytest.mark.parametrize("last, count", [(2e-2, 0), (5e-3, 1), (0.0, 0)])
def test_a_signal_that_dies_by_and_by_is_found(last: float, count: int) -> None:
    """A hundredth of what went in. Exactly 0 is the work of dead units."""
    findings = found(PoorInitialization(), signal(1.0, 0.3, 0.1, last))
    assert count == len(findings)
    if findings:
        assert "nonlinearity=\"relu\"): a std of 0.18 (it is 0.07)" in findings[0].advice[0].text


FADING = (1.0, 0.1, 1e-2, 1e-3)


@pytest.mark.parametrize(
    "function, weights, count",
    [
        ("relu", 0.07, 1),  # torch's own, which are too small for ReLU
        ("relu", 0.18, 0),  # what ReLU needs: another thing has done it
        ("tanh", 0.07, 0),
        ("sigmoid", 0.07, 0),
        ("sigmoid", 0.01, 1),
    ],
)
def test_the_weights_must_be_to_blame(function: str, weights: float, count: int) -> None:
    """Depth and sigmoids lose the signal as well, whatever the weights: GS403 tells that."""
    assert count == len(found(PoorInitialization(), signal(*FADING, function=function, weights=weights)))


@pytest.mark.parametrize("weights, count", [(1e-4, 1), (0.2, 0)])
def test_a_signal_too_small_for_a_float_is_found_by_what_came_before(weights: float, count: int) -> None:
    """It arrives as exactly 0."""
    assert count == len(found(PoorInitialization(), signal(0.3, 1e-4, 1e-20, 0.0, 0.0, weights=weights)))


@pytest.mark.parametrize("facts", [signal(1.0, 1e-3, normalised=True), signal(1.0, 1e-3), signal(70.0, 1.0, 0.2)])
def test_normalised_and_shallow_models_are_silent(facts: list[Fact]) -> None:
    """Normalisation makes up for the size; two layers are not deep; of large inputs little need be left."""
    assert [] == found(PoorInitialization(), facts)


def test_a_signal_that_dies_without_harm_is_none() -> None:
    """It learns all the same."""
    assert [] == found(PoorInitialization(), signal(1.0, 0.1, 1e-3, 1e-4), stands(0.9))


GROWN = (0.3, 2.0, 9.0)


@pytest.mark.parametrize("start, now, weights, count", [(6, 5, 1, 0), (8, 5, 1, 1), (8, 1.5, 1, 0), (8, 5, 0.2, 0)])
def test_a_signal_that_explodes_is_found_where_the_loss_is_far_off(
    start: float, now: float, weights: float, count: int
) -> None:
    """Three times a guess at first, and not below a guess since; by weights of 8 / sqrt(fan_in), not of 1.6."""
    losses = [float(start)] * 10 + [float(now)] * 130
    assert count == len(found(PoorInitialization(), signal(*GROWN, weights=weights), losses))


@pytest.mark.parametrize(
    "losses, sizes, weights, count",
    [
        ([1e9, NAN], GROWN, 1.0, 1),
        ([NAN], (0.3, 1e20, math.inf, NAN), 1.0, 1),
        ([1e9, NAN], (0.3, *(0.3 * 2.0 ** (i / 2) for i in range(1, 18))), 1.0, 1),  # a sum that doubles in two layers
        ([1e9, NAN], (0.3, *(0.3 * 1.2 ** (i / 2) for i in range(1, 18))), 1.0, 0),
        ([1e9, NAN], GROWN, 0.2, 0),  # another thing has done it
        ([2.3, NAN], GROWN, 1.0, 0),  # it began as it should
        ([1e9] * 50 + [NAN], GROWN, 1.0, 0),
        ([1e9, NAN, 8.0, 7.0], GROWN, 1.0, 0),  # it has come down
        ([1e9, 1e8], GROWN, 1.0, 0),
    ],
)
def test_a_loss_that_such_a_signal_makes_no_number_is_told_at_once(
    losses: list[float], sizes: tuple[float, ...], weights: float, count: int
) -> None:
    """As an error, before all that follows from it."""
    findings = found(PoorInitialization(), signal(*sizes, weights=weights), losses)
    assert ["error"] * count == [f.severity for f in findings]
    assert {"GS201", "GS301", "GS402"} <= set(PoorInitialization.explains)
    assert not findings or "is no number now" in findings[0].text


@pytest.mark.parametrize(
    "start, now, weights, facts, count",
    [
        (30.0, 2.2, 1.0, signal(1.0, 1.0, normalised=True, weights=1.0), 1),
        (30.0, 1.5, 1.0, signal(1.0, 1.0, normalised=True, weights=1.0), 0),  # it learns
        (6.0, 2.2, 1.0, signal(1.0, 1.0, normalised=True, weights=1.0), 0),
        (30.0, 2.2, 0.2, signal(1.0, 1.0, normalised=True, weights=0.2), 0),
        (30.0, 2.2, 1.0, signal(1.0, 0.1, normalised=True, weights=1.0), 0),  # the layer is given little
        (30.0, 2.2, 1.0, [LossFunction(0, 0, "other"), *signal(1.0, 1.0, normalised=True, weights=1.0)[1:]], 0),
    ],
)
def test_a_last_layer_of_large_weights_behind_normalisation(
    start: float, now: float, weights: float, facts: list[Fact], count: int
) -> None:
    """An embedding that is tied to the head, of weights that fit the one and not the other."""
    findings = found(PoorInitialization(), facts, [start] * 10 + [now] * 130)
    assert count == len(findings)
    assert not findings or "the weights of fc1, which makes the logits, began with a std of 1" in findings[0].text


@pytest.mark.parametrize(
    "name, shape, norm, first, count",
    [
        ("rnn.weight_hh_l0", (64, 16), 2.6 * 32, 2.3, 1),
        ("rnn.weight_hh_l0", (64, 16), 2.4 * 32, 2.3, 0),
        ("cell.weight_hh", (48, 16), 2.6 * 27.8, 2.3, 1),
        ("rnn.weight_hh_l1_reverse", (48, 16), 2.6 * 27.8, 2.3, 1),
        ("rnn.weight_hh_l0", (16, 16), 2.6 * 16, 2.3, 0),  # of a tanh alone: GS502 tells
        ("rnn.weight_ih_l0", (64, 16), 2.6 * 32, 2.3, 0),
        ("rnn.weight_hh_l0", (16, 64), 2.6 * 32, 2.3, 0),  # of another kind
        ("rnn.weight_hh_l0", (64, 16), 2.6 * 32, 0.3, 0),  # it has been trained
    ],
)
def test_recurrent_weights_far_above_the_usual(
    name: str, shape: tuple[int, ...], norm: float, first: float, count: int
) -> None:
    """Ten over the root of the hidden size, where torch takes 0.58; whatever the loss does."""
    losses = list(np.linspace(first, first / 3, 40))
    made = optimizer(losses=losses, names=[name], shapes=[shape])
    arrays = {n: np.zeros((1, *s), d) for n, (d, s) in array_columns(1).items()}
    arrays["weight_norm"][:] = norm
    findings = list(PoorInitialization().check(record(replace(made, arrays=arrays), facts=[TEN])))
    assert count == len(findings)
    assert not findings or "std=0.14) (it is 2.6)" in findings[0].advice[0].text


# -- GS507 -------------------------------------------------------------------------------------------------------------


def statistics(usual: int, least: int | None = None, looks: int = 6, batch: int = 2) -> list[Fact]:
    values = usual if least is None else least
    return [BatchStatistics(66, 0, "norm1", 64, batch, usual, values, usual, looks)]


@pytest.mark.parametrize(
    "usual, least, severity", [(3, 3, "warning"), (4, 4, "info"), (7, 7, "info"), (8, 8, None), (64, 3, "info")]
)
def test_how_few_values_are_too_few(usual: int, least: int, severity: str | None) -> None:
    """Two or three always: a warning; four to seven, or a short last batch: a word."""
    findings = found(BatchnormSmallBatch(), statistics(usual, least))
    assert [severity] * bool(severity) == [f.severity for f in findings]
    assert not findings or (usual > 8) == ("in some batches" in findings[0].text)


def test_the_advice_fits_the_channels() -> None:
    """Groups that divide them, and the batch that would do."""
    (finding,) = found(BatchnormSmallBatch(), statistics(2))
    assert "off by 141 %" in finding.text
    assert "nn.GroupNorm(16, 64) in place of norm1" in finding.advice[0].text
    assert "batches of 16 (it is 2)" in finding.advice[1].text
    assert [] == found(BatchnormSmallBatch(), statistics(2, looks=3))


# -- what all share ----------------------------------------------------------------------------------------------------


def test_facts_survive_the_way_to_disk_and_back() -> None:
    """Tuples become lists in JSON, and tuples again."""
    for fact in (firings(0.5)[1], saturations(0.5)[1], equal(0.1)[1], signal(1.0, 2.0)[1], statistics(2)[0]):
        assert fact == from_json(to_json(fact))


@pytest.mark.parametrize("rule", [DeadActivations(), SaturatedActivations(), PoorInitialization()])
def test_losses_that_are_no_numbers_and_short_runs_are_not_judged(rule: Rule) -> None:
    """No row, one row, all NaN."""
    facts = [*firings(1.0), *saturations(1.0)[1:], *signal(1.0, 0.1, 1e-3, 1e-4)[1:]]
    for losses in ([], [2.3], [NAN] * 140):
        assert [] == found(rule, facts, losses)
