"""GS402, GS405 and GS406 on hand-made records: found, quiet, and just on either side of each threshold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.diagnosis import diagnose
from gradscope.events import GradState, Point
from gradscope.facts.gradients import Clipping
from gradscope.facts.learning_rate import StepGeometry
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.record.table import array_columns
from gradscope.rules.base import Rule
from gradscope.rules.gradients.clipping_always_active import ClippingAlwaysActive
from gradscope.rules.gradients.clipping_ineffective import ClippingIneffective
from gradscope.rules.gradients.gradient_exploding import GradientExploding
from gradscope.rules.learning_rate.learning_rate_too_high import LearningRateTooHigh
from gradscope.rules.learning_rate.learning_rate_too_low import LearningRateTooLow
from gradscope.rules.loop.missing_zero_grad import MissingZeroGrad
from gradscope.rules.loss.loss_exploding import LossExploding
from gradscope.rules.norms import norms, tidy
from tests.records import STEP, optimizer, record

NAN, INF = math.nan, math.inf
SITE = STEP


def measured(
    losses: Sequence[float],
    used: Sequence[float],
    made: Sequence[float] | None = None,
    updates: Sequence[float] | float = 1e-3,
    weights: float = 1.0,
    **more: Any,
) -> OptimizerRecord:
    """All rows are measured; the whole norm is the first parameter's, and the updates of that are against `weights`."""
    one = optimizer(losses=losses, **more)
    rows, params = len(losses), len(one.parameters)
    columns = {n: np.zeros((rows, *s), d) for n, (d, s) in array_columns(params).items()}
    columns["row"] = np.arange(rows)
    columns["state"][:] = GradState.FRESH
    columns["norm"][:, Point.BEFORE_STEP, 0] = used
    columns["norm"][:, Point.AFTER_BACKWARD, 0] = used if made is None else made
    columns["weight_norm"][:, 0] = weights
    columns["update_norm"][:, 0] = updates
    return replace(one, arrays=columns)


def found(rule: Rule, *optimizers: OptimizerRecord, facts: Sequence[Clipping] = ()) -> list[Finding]:
    return list(rule.check(record(*optimizers, facts=facts)))


def clip(**details: Any) -> Clipping:
    """A line that clips as it should, 100 times, at 1; norms are about 0.5."""
    values: dict[str, Any] = {
        "row": 100, "optimizer": 0, "kind": "norm", "limit": 1.0, "norm_type": 2.0, "parameters": 2, "covered": 2,
        "of": 2, "calls": 100, "since": 0, "empty": 0, "spent": 0, "none": 0, "used_up": 0, "acted": 40, "idle": 0,
        "ahead": -1, "times": 0, "seen": 100, "cut": 3, "low": 0.3, "median": 0.5, "high": 0.9, "site": SITE,
    }  # fmt: skip
    return Clipping(**{**values, **details})


def noise(rows: int, seed: int = 0, spread: float = 0.2) -> np.ndarray:
    return np.exp(spread * np.random.default_rng(seed).normal(size=rows))


# -- norms ------------------------------------------------------------------------------------------------------------


def test_totals_are_of_what_was_there() -> None:
    """NaN where nobody looked or something was not finite; parameters without a gradient count for nothing."""
    one = measured([1.0] * 4, [3.0, INF, 3.0, 3.0])
    one.arrays["norm"][0, Point.BEFORE_STEP, 1] = 4.0
    one.arrays["state"][2, Point.BEFORE_STEP] = GradState.NOT_SEEN
    one.arrays["state"][3, Point.BEFORE_STEP, 1] = GradState.NONE
    one.arrays["norm"][3, Point.BEFORE_STEP, 1] = NAN
    np.testing.assert_allclose([5.0, NAN, NAN, 3.0], norms(one).used)


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, 1.0), (1.3, 1.0), (1.5, 2.0), (3.3, 5.0), (8.0, 10.0), (0.0032, 0.005), (900, 1000)]
)
def test_what_is_advised_is_tidy(value: float, expected: float) -> None:
    """1, 2 or 5 of a decade, the nearest by ratios."""
    assert expected == tidy(value)


# -- GS406 ------------------------------------------------------------------------------------------------------------

BEFORE = {"acted": 0, "idle": 20, "empty": 100, "seen": 0, "cut": 0}
AFTER = {"acted": 0, "idle": 20, "spent": 100, "seen": 0, "cut": 0}
LARGE = measured([1.0] * 40, 5 * noise(40))


@pytest.mark.parametrize(("details", "reason"), [(BEFORE, "before-backward"), (AFTER, "after-step")])
def test_gs406_a_clip_in_the_wrong_place(details: dict[str, Any], reason: str) -> None:
    """With the place it belongs to, and something that `try` can do."""
    (finding,) = found(ClippingIneffective(), LARGE, facts=[clip(**details)])
    assert ("warning", reason, SITE) == (finding.severity, finding.evidence["reason"], finding.where)
    assert "between backward() (line 12) and optimizer.step() (line 13)" in finding.advice[0].text
    assert ("clip-grad-norm", 1.0) == (finding.advice[0].action, finding.advice[0].values["max_norm"])
    assert "40 of 40 steps measured used gradients beyond it" in finding.text


@pytest.mark.parametrize(("idle", "count"), [(4, 0), (5, 1)])
def test_gs406_five_steps_are_asked_for(idle: int, count: int) -> None:
    """Just below, just above."""
    assert count == len(found(ClippingIneffective(), LARGE, facts=[clip(**{**BEFORE, "idle": idle})]))


@pytest.mark.parametrize(
    "details",
    [
        {},
        {**BEFORE, "acted": 1},
        {**BEFORE, "limit": INF},
        {**BEFORE, "empty": 60},
        {"acted": 0, "idle": 0},
        {**BEFORE, "optimizer": -1, "none": 50, "empty": 50},
        {**BEFORE, "optimizer": -1, "empty": 0, "none": 100, "ahead": 0},
        {**BEFORE, "optimizer": -1, "empty": 99, "ahead": 0},
        {**AFTER, "optimizer": 7},
        {"acted": 0, "idle": 20, "ahead": 1, "times": 3},
    ],
    ids=str,
)
def test_gs406_is_silent(details: dict[str, Any]) -> None:
    """It acts; it reads the norm; only some calls found nothing; nothing is known; a fresh generator that is empty."""
    other = measured([1.0] * 40, [5.0] * 40, number=1)
    assert [] == found(ClippingIneffective(), LARGE, other, facts=[clip(**details)])


def test_gs406_is_silent_where_another_line_acts() -> None:
    """Then the gradients that the step uses are clipped."""
    other = replace(clip(), site=replace(SITE, line=99))
    assert [] == found(ClippingIneffective(), LARGE, facts=[clip(**BEFORE), other])
    assert 1 == len(found(ClippingIneffective(), LARGE, facts=[clip(**BEFORE), replace(other, limit=INF)]))


@pytest.mark.parametrize(("beyond", "severity"), [(0, "info"), (2, "info"), (3, "warning")])
def test_gs406_is_a_warning_where_it_would_have_cut(beyond: int, severity: str) -> None:
    """A max_norm that next to no gradient comes up to does not protect from anything, wherever it stands."""
    used = np.full(60, 0.5)
    used[20 : 20 + beyond] = 1.5
    (finding,) = found(ClippingIneffective(), measured([1.0] * 60, used), facts=[clip(**BEFORE)])
    assert severity == finding.severity


@pytest.mark.parametrize(
    ("used", "last", "severity"),
    [
        ([2.0, 20.1, NAN, NAN], NAN, "warning"),
        ([2.0, 20.0, NAN, NAN], NAN, "info"),  # as before, and then something else went wrong
        ([0.9, 20.1, NAN, NAN], NAN, "info"),  # not all were beyond it
        ([20.1, NAN, NAN, NAN], NAN, "info"),
        ([2.0, 20.1, NAN, NAN], 2.0, "info"),
    ],
)
def test_gs406_a_run_that_breaks_at_once(used: list[float], last: float, severity: str) -> None:
    """Fewer than three rows are measured before the loss is no number: they have to show it growing."""
    (finding,) = found(ClippingIneffective(), measured([2.0, 9e9, NAN, last], used), facts=[clip(**AFTER)])
    assert severity == finding.severity


def test_gs406_without_a_row_measured_is_info() -> None:
    """It is a fact that it does nothing; whether that matters is not known."""
    (finding,) = found(ClippingIneffective(), optimizer(), facts=[clip(**BEFORE)])
    assert "info" == finding.severity


@pytest.mark.parametrize(("norm", "severity"), [(0.5, "info"), (3.0, "warning")])
def test_gs406_by_value_weighs_single_entries(norm: float, severity: str) -> None:
    """Of six weights with a norm of 3, three root mean squares are 3.7: beyond 1."""
    details = {**AFTER, "kind": "value", "norm_type": INF}
    (finding,) = found(ClippingIneffective(), measured([1.0] * 40, [norm] * 40), facts=[clip(**details)])
    assert (severity, None) == (finding.severity, finding.advice[0].action)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"none": 100, "used_up": 100}, "used-up"),
        ({"empty": 100}, "other-parameters"),
    ],
)
def test_gs406_parameters_of_nobody(details: dict[str, Any], reason: str) -> None:
    """The optimizer that stepped next is the one that is not protected."""
    nobody = {"optimizer": -1, "acted": 0, "idle": 20, "ahead": 0, "times": 20, **details}
    (finding,) = found(ClippingIneffective(), LARGE, facts=[clip(**nobody)])
    assert (reason, 0) == (finding.evidence["reason"], finding.optimizer)


def test_gs406_the_discriminator_instead_of_the_generator() -> None:
    """What it clips is thrown away, and the other one steps."""
    wrong = clip(optimizer=1, acted=0, idle=20, ahead=0, times=20)
    (finding,) = found(ClippingIneffective(), LARGE, measured([1.0] * 40, [1.0] * 40, number=1), facts=[wrong])
    assert ("other-optimizer", 0, 0) == (finding.evidence["reason"], finding.optimizer, finding.stream)


def test_gs406_explains_what_a_missing_clip_does() -> None:
    """The loss explodes because nothing is clipped: one cause."""
    losses = [2.0] * 20 + [60.0] * 40
    sick = record(measured(losses, [5.0] * 20 + [900.0] * 40), facts=[clip(**BEFORE)])
    findings = diagnose(sick, [LossExploding(), ClippingIneffective()]).findings
    assert [("GS406", None), ("GS202", "GS406")] == [(f.code, f.caused_by) for f in findings]


# -- GS405 ------------------------------------------------------------------------------------------------------------

ALWAYS = {"cut": 99, "median": 4.0, "low": 2.0, "high": 9.0}


def test_gs405_says_what_lr_is_in_effect() -> None:
    """0.1 at a norm of 4 cut to 1: 0.025, and a max_norm by which the two come apart."""
    (finding,) = found(ClippingAlwaysActive(), LARGE, facts=[clip(**ALWAYS)])
    assert "info" == finding.severity
    assert "clipping at 1 cut 99 of 100 gradients, whose norm is 4 in the middle" in finding.text
    assert "the steps are those of lr 0.025 (it is 0.1)" in finding.text
    assert 0.025 == pytest.approx(finding.evidence["effective_lr"])
    assert "max_norm 10" in finding.advice[0].text and finding.advice[0].action is None


@pytest.mark.parametrize(
    ("details", "count"),
    [
        ({"cut": 95}, 1),
        ({"cut": 94}, 0),
        ({"seen": 64, "cut": 64}, 1),
        ({"seen": 63, "cut": 63}, 0),
        ({"acted": 0, "idle": 20}, 0),
        ({"limit": INF}, 0),
        ({"optimizer": 3}, 0),
        ({"median": 5.0 * 65536}, 0),
    ],
)
def test_gs405_nearly_always(details: dict[str, Any], count: int) -> None:
    """95 % of 64 and more; of gradients that GradScaler has multiplied nothing is said here."""
    assert count == len(found(ClippingAlwaysActive(), LARGE, facts=[clip(**{**ALWAYS, **details})]))


def test_gs405_adam_hardly_notices() -> None:
    """It divides by the gradient's size: no lr in effect, no advice."""
    (finding,) = found(ClippingAlwaysActive(), replace(LARGE, kind="AdamW"), facts=[clip(**ALWAYS)])
    assert "AdamW divides by the gradient's size" in finding.text
    assert () == finding.advice


HELD = {"cut": 100, "limit": 1e-3, "median": 2.0, "low": 1.0, "high": 3.0}


def held_back(**details: Any) -> OptimizerRecord:
    """Ten classes, a loss that stays at ln 10, steps of 1e-5 of the weights."""
    values = {"losses": 2.303 * (1 - 1e-5 * np.arange(150)), "used": [1e-3] * 150, "made": [2.0] * 150}
    shapes = {"names": ("a.weight", "b.weight"), "shapes": ((64, 10), (10, 64))}
    one = measured(**{**values, "updates": 1e-5, **shapes, **details})
    one.arrays["weight_norm"][:, 1], one.arrays["update_norm"][:, 1] = 1.0, one.arrays["update_norm"][:, 0]
    return one


def test_gs405_is_a_warning_where_it_holds_sgd_back() -> None:
    """The max_norm that is advised would make steps of 0.3 % of the weights; nine in ten norms are beyond that."""
    sick = record(held_back(), facts=[clip(**HELD)])
    (finding,) = ClippingAlwaysActive().check(sick)
    (decaying,) = found(ClippingAlwaysActive(), held_back(lr=np.linspace(0.1, 1e-3, 150)), facts=[clip(**HELD)])
    assert "warning" == finding.severity == decaying.severity
    (advice,) = finding.advice
    assert ("clip-grad-norm", 1e-3, 0.2) == (advice.action, advice.values["from"], advice.values["max_norm"])
    folded = diagnose(sick, [LearningRateTooLow(), ClippingAlwaysActive()]).findings
    assert [("GS405", None), ("GS302", "GS405")] == [(f.code, f.caused_by) for f in folded]


def test_gs405_the_norms_bound_what_is_advised() -> None:
    """Where the steps have room for more, nine in ten norms are."""
    (finding,) = found(ClippingAlwaysActive(), held_back(updates=1e-7), facts=[clip(**HELD)])
    assert 2.0 == finding.advice[0].values["max_norm"]


@pytest.mark.parametrize(
    ("optimizer_details", "fact_details"),
    [
        ({"losses": np.linspace(2.3, 1.9, 150)}, {}),
        ({"updates": 2e-4}, {}),
        ({"lr": np.linspace(1e-3, 0.1, 150)}, {}),
        ({"lr": np.repeat([0.1, 1e-3], [20, 130])}, {}),
        ({"losses": np.full(150, 0.1)}, {}),
        ({}, {"median": 9e-3, "high": 2e-2}),
        ({}, {"covered": 1}),
    ],
    ids=["falls", "steps", "warm-up", "decayed", "low start", "cut by nine", "a part"],
)
def test_gs405_is_no_warning(optimizer_details: dict[str, Any], fact_details: dict[str, Any]) -> None:
    """Progress, steps that count, a schedule at its ends, little to learn, a mild cut, or a part of the parameters."""
    (finding,) = found(ClippingAlwaysActive(), held_back(**optimizer_details), facts=[clip(**{**HELD, **fact_details})])
    assert "info" == finding.severity


# -- GS402 ------------------------------------------------------------------------------------------------------------


def thrown(
    at: int = 60, factor: float = 300.0, after: float = 9.0, step: float = 2.0, rows: int = 100, **more: Any
) -> OptimizerRecord:
    """A run that does well, until one gradient throws it off at row `at`."""
    losses, used, updates = 1.0 * noise(rows), 2.0 * noise(rows, 1), np.full(rows, 5e-3)
    losses[at:] *= after
    used[at], updates[at] = 2.0 * factor, step
    return measured(losses, used, updates=updates, **more)


def test_gs402_one_gradient_throws_the_weights_off() -> None:
    """With the row, the parameter, and a max_norm that nine in ten of the norms before were below."""
    (finding,) = found(GradientExploding(), thrown())
    assert ("warning", 60) == (finding.severity, finding.steps[0])
    assert "jumped from" in finding.text and "at step 60, most of it in layer.weight" in finding.text
    (advice,) = finding.advice
    assert ("clip-grad-norm", 2.0) == (advice.action, advice.values["max_norm"])
    assert finding.parameters[0] == "layer.weight"


@pytest.mark.parametrize(
    ("details", "count"),
    [
        ({"factor": 30.0}, 1),
        ({"factor": 12.0}, 0),
        ({"step": 0.12}, 1),
        ({"step": 0.04}, 0),
        ({"after": 1.6}, 1),
        ({"after": 1.1}, 0),
        ({"rows": 77}, 1),
        ({"rows": 76}, 0),
        ({"at": 8, "rows": 60}, 1),
        ({"at": 7, "rows": 60}, 0),
    ],
    ids=str,
)
def test_gs402_thresholds(details: dict[str, Any], count: int) -> None:
    """Ten times the largest before; a step of a tenth of the weights and ten times the usual one; worse for 16 rows."""
    assert count == len(found(GradientExploding(), thrown(**details)))


def test_gs402_is_an_error_where_the_loss_is_gone() -> None:
    """NaN after the jump: three rows are enough."""
    sick = thrown(rows=64)
    sick.scalars["loss"][61:] = NAN
    (finding,) = found(GradientExploding(), sick)
    assert "error" == finding.severity


def test_gs402_a_spike_that_heals_is_none() -> None:
    """Worse for ten rows, and back."""
    healed = thrown()
    healed.scalars["loss"][70:] = 1.0
    assert [] == found(GradientExploding(), healed)


@pytest.mark.parametrize("seed", range(20))
def test_gs402_heavy_tails_are_none(seed: int) -> None:
    """Norms and losses of batches of one, with tails like those of Cauchy; steps as the gradients are."""
    tail = np.abs(np.random.default_rng(seed).standard_cauchy(600)) + 0.1
    assert [] == found(GradientExploding(), measured(tail, tail, updates=1e-3 * tail))


def test_gs402_growth_while_the_loss_falls_is_none() -> None:
    """A thousand times, over the run: healthy networks do it."""
    losses = 2 * np.exp(-np.arange(200) / 60)
    assert [] == found(GradientExploding(), measured(losses, 0.1 * np.exp(np.arange(200) / 28)))


@pytest.mark.parametrize(("factor", "count"), [(60.0, 0), (200.0, 1)])
def test_gs402_growth_without_bound(factor: float, count: int) -> None:
    """A hundred times the start, and the loss above its own."""
    used = np.exp(np.log(factor) * np.minimum(np.arange(40) / 30, 1))
    assert count == len(found(GradientExploding(), measured(np.linspace(1, 3, 40), used)))


def test_gs402_another_task_is_no_growth() -> None:
    """From one row to the next, gradients and losses are hundreds of times what they were: the data are others."""
    steps = np.where(np.arange(40) < 20, 1.0, 300.0)
    assert [] == found(GradientExploding(), measured(0.003 * steps, steps))
    assert 1 == len(found(GradientExploding(), measured(0.003 * np.geomspace(1, 300, 40), np.geomspace(1, 300, 40))))


def test_gs402_growth_to_infinity() -> None:
    """Gradients that are no numbers any more, and no loss."""
    used = [1.0, 1.0, 1.0, 1.0, 200.0, 1e5, 1e9, *[INF] * 5]
    (finding,) = found(GradientExploding(), measured([2.0, 2.0, 2.0, 2.0, 3.0, 9.0, 1e4, 1e9, *[NAN] * 4], used))
    assert ("error", 4) == (finding.severity, finding.steps[0])


def test_gs402_another_max_norm_where_a_clip_is_there() -> None:
    """A clip that is too high by far is lowered, not doubled."""
    (finding,) = found(GradientExploding(), thrown(), facts=[clip(limit=1e4)])
    assert "lower max_norm to 2 (it is 1e+04)" in finding.advice[0].text
    assert 1e4 == finding.advice[0].values["from"]
    (finding,) = found(GradientExploding(), thrown(), facts=[clip(limit=1e4, acted=0)])
    assert "from" not in finding.advice[0].values


@pytest.mark.parametrize("losses", [[], [1.0], [NAN] * 50, [0.0] * 50])
def test_gs402_too_little_to_judge(losses: list[float]) -> None:
    """Nothing, one row, no number, nothing to lose."""
    assert [] == found(GradientExploding(), measured(losses, [1.0] * len(losses)))


def test_gs402_causes_and_consequences() -> None:
    """A missing zero_grad or a high lr explain it; it explains what the loss does then."""
    assert "GS402" in MissingZeroGrad.explains and "GS402" in LearningRateTooHigh.explains
    findings = diagnose(record(thrown(after=40.0)), [LossExploding(), GradientExploding()]).findings
    assert [("GS402", None), ("GS202", "GS402")] == [(f.code, f.caused_by) for f in findings]


def test_gs402_is_over_when_the_loss_is_back() -> None:
    """Until then it stays, though the rows that showed it are thinned out."""
    rule, sick = GradientExploding(), thrown()
    (finding,) = found(rule, sick)
    assert not rule.over(finding, record(sick))
    back: Record = record(measured([1.0] * 100, [1.0] * 100))
    assert rule.over(finding, back)


def hopeless(
    losses: Sequence[float] = (1e9, NAN, NAN, NAN), used: float = 1e8, updates: float = 1e6, lr: float = 0.01
) -> OptimizerRecord:
    """Weights of norm 1, and gradients that are far beyond them from the first step on."""
    rows = len(losses)
    return measured(losses, [used, *[NAN] * (rows - 1)], updates=[updates, *[NAN] * (rows - 1)], lr=lr)


def test_gs402_from_the_first_step_on() -> None:
    """What it was, against the weights, a clip that makes steps of a thousandth of them, and where to look."""
    (finding,) = found(GradientExploding(), hopeless())
    assert ("error", 0) == (finding.severity, finding.steps[0])
    assert "the gradient norm was 1e+08, 1e+08 times that of the weights, at step 0, most of it in" in finding.text
    assert ("clip-grad-norm", 0.1) == (finding.advice[0].action, finding.advice[0].values["max_norm"])
    assert "a smaller initialisation" in finding.advice[1].text


@pytest.mark.parametrize(
    ("details", "count"),
    [
        ({"used": 1001.0}, 1),
        ({"used": 999.0}, 0),
        ({"updates": 10.1}, 1),
        ({"updates": 9.9}, 0),
        ({"lr": 9e-8}, 0),
        ({"losses": (1e9, NAN)}, 0),
        ({"losses": (1e9, NAN, NAN)}, 1),
        ({"losses": (1e4, 1.1e7, 1.1e7, 1.1e7)}, 1),
        ({"losses": (1e4, 9e6, 9e6, 9e6)}, 0),
        ({"losses": (1e4, 1e9, 1e9, 8e3, 1e3, 100.0)}, 0),
        ({"losses": tuple(np.linspace(1e4, 1e3, 40))}, 0),
        ({"losses": (NAN,) * 4}, 0),
    ],
    ids=str,
)
def test_gs402_from_the_start_thresholds(details: dict[str, Any], count: int) -> None:
    """A loss that is summed, or multiplied by 10,000, has such gradients and trains: it must explode, and stay so."""
    assert count == len(found(GradientExploding(), hopeless(**{"lr": 1.0, **details})))


@pytest.mark.parametrize(("sharpness", "severity"), [(1.9e3, "GS301"), (2.1e3, "GS402"), (INF, "GS402")])
def test_a_learning_rate_that_is_a_thousand_times_too_high_is_none(sharpness: float, severity: str) -> None:
    """By the curvature along the first step: 2 / lr is what it follows. GS301 has nothing to advise beyond that."""
    sick = hopeless((1e4, 1e9, 1e14, 1e19, NAN, NAN, NAN), lr=1.0)
    sick.arrays["norm"][:4, Point.BEFORE_STEP, 0] = 1e8, 1e13, 1e18, 1e23
    facts = [StepGeometry(0, 0, 1e8, 1e6, NAN, NAN), StepGeometry(1, 0, 1e13, 1e11, sharpness * 1e6, NAN)]
    one = record(sick, facts=facts)
    told = [f.code for rule in (LearningRateTooHigh(), GradientExploding()) for f in rule.check(one)]
    assert [severity] == [code for code in told if code != "GS402" or severity == "GS402"]


def test_gs301_leaves_a_single_gradients_harm_to_gs402() -> None:
    """The same losses with steps that were large all along are the learning rate's."""
    sick = thrown(at=20, after=60.0)
    sick.arrays["weight_norm"][:, 0] = 1.0
    assert [] == [f for f in found(LearningRateTooHigh(), sick) if f.severity != "info"]
    sick.arrays["update_norm"][:20, 0] = 0.5
    assert 1 == len([f for f in found(LearningRateTooHigh(), sick) if f.severity != "info"])
