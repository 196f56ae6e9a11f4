"""GS701 to GS704 on hand-made records: quiet, found, just below and just above their thresholds; who explains whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.diagnosis import diagnose
from gradscope.events import GradState, Point, Site
from gradscope.facts.fact import Fact
from gradscope.facts.gradients import Clipping
from gradscope.facts.learning_rate import Hyperparameters, StepGeometry
from gradscope.facts.loop import SkippedStep
from gradscope.facts.loss import LossFunction
from gradscope.facts.not_finite import LossOrigin
from gradscope.facts.numerics import LossScaling, LostUpdates, Underflow
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord, Parameter, Record, Wiring
from gradscope.record.rowstore import pad
from gradscope.record.table import array_columns
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import RULES
from gradscope.rules.gradients.clipping_always_active import ClippingAlwaysActive
from gradscope.rules.loop.gradient_cleared_before_step import GradientClearedBeforeStep
from gradscope.rules.numerics.clip_before_unscale import ClipBeforeUnscale
from gradscope.rules.numerics.low_precision_gradient_underflow import LowPrecisionGradientUnderflow
from gradscope.rules.numerics.low_precision_update_lost import LowPrecisionUpdateLost
from gradscope.rules.numerics.scaler_skips_steps import ScalerSkipsSteps
from tests.records import BACKWARD, HEALTHY, STEP, optimizer, record

CLIP, MADE = Site("train.py", 20, "main"), Site("train.py", 5, "main")
STUCK, FALLING = np.full(150, 2.3), np.linspace(2.3, 0.5, 150)
# gradients that all point one way: there is something to learn
SLOPE = [StepGeometry(row, 0, 1.0, 0.1, 0.1, 0.1) for row in range(4)]


def of_norms(made: float, used: float, losses: np.ndarray = STUCK[:20], **more: Any) -> OptimizerRecord:
    """Steps whose backwards left gradients of the norm `made`, and which used such of the norm `used`."""
    one, rows = optimizer(losses=losses, **more), len(losses)
    empty = {n: np.zeros((rows, *s), d) for n, (d, s) in array_columns(2).items()}
    columns = pad(empty, array_columns(2))
    columns["row"][:] = np.arange(rows)
    columns["state"][:, [Point.AFTER_BACKWARD, Point.BEFORE_STEP]] = GradState.FRESH
    columns["norm"][:, Point.AFTER_BACKWARD, 0] = made
    columns["norm"][:, Point.BEFORE_STEP, 0] = used
    return replace(one, arrays=columns)


def in_low_precision(losses: Sequence[float] | np.ndarray, dtype: str = "bfloat16", **details: Any) -> OptimizerRecord:
    one = optimizer(losses=losses, **details)
    return replace(one, parameters=tuple(Parameter(p.name, p.shape, p.group, dtype) for p in one.parameters))


def found(rule: Rule, *optimizers: OptimizerRecord, facts: Sequence[Fact] = ()) -> list[Finding]:
    return list(rule.check(record(*optimizers, facts=facts)))


# -- GS701 ------------------------------------------------------------------------------------------------------------


def lost(**details: Any) -> LostUpdates:
    """Nine of ten values stay."""
    values: dict[str, Any] = {
        "row": 140, "optimizer": 0, "dtype": "bfloat16", "weights": 1, "of": 2, "looks": 8, "compared": 1000,
        "stayed": 900, "spacing": 0.0005, "size": 0.07,
    }  # fmt: skip
    return LostUpdates(**{**values, **details})


def test_gs701_names_precision_spacing_and_autocast() -> None:
    """The numbers, at the step's line, and the first advice can be pasted."""
    (finding,) = found(LowPrecisionUpdateLost(), in_low_precision(STUCK), facts=[lost(device="cpu"), *SLOPE])
    assert ("warning", STEP, (0, 149)) == (finding.severity, finding.where, finding.steps)
    assert "90 % of the bfloat16 values that 8 steps should have changed" in finding.text
    assert "near 0.07 such numbers are 0.0005 apart" in finding.text and "2.3 after 150 steps" in finding.text
    assert 'torch.autocast("cpu", dtype=torch.bfloat16)' in finding.advice[0].text


@pytest.mark.parametrize(
    ("losses", "details", "severities"),
    [
        (STUCK, {"stayed": 800}, ["warning"]),
        (STUCK, {"stayed": 799}, []),
        (STUCK[:100], {}, ["warning"]),
        (STUCK[:99], {}, []),
        (STUCK, {"looks": 4}, ["warning"]),
        (STUCK, {"looks": 3}, []),
        (STUCK, {"compared": 63, "stayed": 63}, []),
        (FALLING, {}, []),
        (FALLING, {"stayed": 949}, []),
        (FALLING, {"stayed": 950}, ["info"]),
        (STUCK, {"optimizer": 1}, []),
    ],
)
def test_gs701_by_the_share_that_stays_and_the_loss(
    losses: np.ndarray, details: dict[str, Any], severities: list[str]
) -> None:
    """On both sides of each threshold."""
    facts = [lost(**details), *SLOPE]
    assert severities == [f.severity for f in found(LowPrecisionUpdateLost(), in_low_precision(losses), facts=facts)]


def test_gs701_is_silent_where_it_cannot_be_told() -> None:
    """Weights in float32 beside few in bfloat16; a loss that may rise; a rate on its way up; fine-tuning."""
    rule = LowPrecisionUpdateLost()
    assert [] == found(rule, in_low_precision(STUCK, "float32"), facts=[lost(), *SLOPE])
    assert [] == found(rule, in_low_precision(STUCK - 3), facts=[lost(), *SLOPE])
    assert [] == found(rule, in_low_precision(STUCK, lr=np.linspace(1e-6, 1e-4, 150)), facts=[lost(), *SLOPE])
    assert [] == found(rule, in_low_precision(0.2 * STUCK), facts=[lost(), *SLOPE])


def of_vectors(one: OptimizerRecord) -> OptimizerRecord:
    return replace(one, parameters=tuple(replace(p, shape=(6,)) for p in one.parameters))


def test_gs701_vectors_count_where_there_is_nothing_else() -> None:
    """Gains alone; not beside matrices, the same optimizer's or another's that steps on the same loss."""
    rule, gains = LowPrecisionUpdateLost(), of_vectors(in_low_precision(STUCK))
    assert ["warning"] == [f.severity for f in found(rule, gains, facts=[lost(), *SLOPE])]
    assert [] == found(rule, of_vectors(in_low_precision(STUCK, "float32")), facts=[lost(), *SLOPE])
    beside = in_low_precision(STUCK, number=1)
    both = replace(record(gains, beside, facts=[lost(), *SLOPE]), partition=((0, 1),))
    assert 1 == len(both.streams) and [] == list(rule.check(both))


# -- GS702 ------------------------------------------------------------------------------------------------------------


def clip(**details: Any) -> Clipping:
    """All of 60 calls at 1 before unscale_, at the scale 65536; what backward makes has a norm of about 2."""
    values: dict[str, Any] = {
        "row": 100, "optimizer": 0, "kind": "norm", "limit": 1.0, "norm_type": 2.0, "parameters": 2, "covered": 2,
        "of": 2, "calls": 60, "since": 0, "empty": 0, "spent": 0, "none": 0, "used_up": 0, "acted": 59, "idle": 0,
        "ahead": -1, "times": 0, "seen": 60, "cut": 60, "low": 1e5, "median": 131072.0, "high": 2e5, "site": CLIP,
        "scaled": 59, "scale": 65536.0,
    }  # fmt: skip
    return Clipping(**{**values, **details})


CUT = of_norms(2.0, 1 / 65536)


def test_gs702_says_where_to_unscale() -> None:
    """At the clip's line, with both norms."""
    (finding,) = found(ClipBeforeUnscale(), CUT, facts=[clip()])
    assert ("warning", CLIP, (0, 19)) == (finding.severity, finding.where, finding.steps)
    assert "call scaler.unscale_(optimizer) before line 20" == finding.advice[0].text
    assert "The steps use a norm of 1.526e-05, where backward made 2" in finding.text


@pytest.mark.parametrize(
    ("details", "count"),
    [
        ({"scaled": 30}, 1),
        ({"scaled": 29}, 0),
        ({"scaled": 0}, 0),
        ({"calls": 3, "scaled": 3}, 1),
        ({"calls": 2, "scaled": 2}, 0),
        ({"limit": 1024.0}, 1),
        ({"limit": 1025.0}, 0),  # multiplied by the scale, as it should be
        ({"limit": 1025.0, "scale": 2.0**20}, 1),
        ({"limit": np.inf}, 0),
        ({"optimizer": -1}, 0),
        ({"kind": "value"}, 1),
    ],
)
def test_gs702_by_calls_and_limit(details: dict[str, Any], count: int) -> None:
    """On both sides of each threshold."""
    assert count == len(found(ClipBeforeUnscale(), CUT, facts=[clip(**details)]))


@pytest.mark.parametrize(("used", "count"), [(0.19, 1), (0.21, 0), (2.0, 0), (0.0, 0)])
def test_gs702_by_what_is_left(used: float, count: int) -> None:
    """A tenth of what the same clip leaves of true gradients; 0 and NaN tell nothing."""
    assert count == len(found(ClipBeforeUnscale(), of_norms(2.0, used), facts=[clip(limit=2.0)]))
    assert [] == found(ClipBeforeUnscale(), of_norms(np.nan, used), facts=[clip()])


def test_gs702_a_clip_that_cuts_true_gradients_as_much_changes_nothing() -> None:
    """Norms of 2000 are cut to 1 either way."""
    assert [] == found(ClipBeforeUnscale(), of_norms(2000.0, 1.0), facts=[clip(scale=128.0)])


@pytest.mark.parametrize(("used", "severity"), [(1e-5, "info"), (1e-7, "warning")])
def test_gs702_adam_divides_by_it(used: float, severity: str) -> None:
    """As long as what is left is far above eps."""
    settings = Hyperparameters(0, 0, 0, {"eps": 1e-8})
    (finding,) = found(ClipBeforeUnscale(), of_norms(2.0, used), facts=[clip(), settings])
    assert severity == finding.severity


def test_gs405_leaves_scaled_gradients_to_gs702() -> None:
    """Which clips nearly all, too."""
    rule = ClippingAlwaysActive(calls=60)
    assert [] == found(rule, CUT, facts=[clip()])
    assert 1 == len(found(rule, of_norms(131072.0, 1.0), facts=[clip(scaled=0)]))


# -- GS703 ------------------------------------------------------------------------------------------------------------


def skips(**details: Any) -> LossScaling:
    """As a scaler begins: ten skipped in a row, then all ran."""
    values: dict[str, Any] = {
        "row": 100, "optimizer": 0, "skipped": 10, "steps": 100, "streak": 10, "since": 0, "lately": 0, "window": 110,
        "lately_since": 0, "first_scale": 65536.0, "scale": 128.0, "scalers": 1, "interval": 2000, "seen": 10,
        "not_finite": 0, "site": STEP, "made": MADE,
    }  # fmt: skip
    return LossScaling(**{**values, **details})


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({}, None),
        ({"skipped": 40, "streak": 40, "steps": 0, "first_scale": 2.0**40, "scale": 2.0}, None),
        ({"skipped": 60, "streak": 1, "steps": 120_000}, None),  # one after each growth
        ({"lately": 15, "streak": 1}, None),
        ({"lately": 16, "streak": 1}, "not-finite"),
        ({"lately": 16, "streak": 1, "interval": 8}, "grows"),
        ({"lately": 16, "streak": 1, "interval": 9}, "not-finite"),
        ({"lately": 16, "streak": 1, "interval": 8, "not_finite": 5}, "not-finite"),
        ({"scale": 2.0**-10, "streak": 4}, "not-finite"),
        ({"scale": 2.0**-9, "streak": 4}, None),
        ({"scale": 2.0**-10, "streak": 3}, None),
        ({"scale": 2.0**-10, "streak": 1, "lately": 4}, "not-finite"),
        ({"scale": 0.0, "first_scale": 0.0, "streak": 20}, None),  # not known
        ({"scale": 0.0, "streak": 4}, "not-finite"),  # halved until nothing was left
        ({"scale": 0.0, "streak": 3}, None),
        ({"scalers": 3, "skipped": 20}, "anew"),
        ({"scalers": 2, "skipped": 20}, None),
        ({"scalers": 3, "skipped": 8, "steps": 56}, "anew"),
        ({"scalers": 3, "skipped": 8, "steps": 57}, None),  # once an epoch, say
        ({"scalers": 3, "skipped": 7, "steps": 7}, None),
        ({"streak": 16, "skipped": 16, "scale": 65536.0}, "stays"),
        ({"streak": 15, "skipped": 15, "scale": 65536.0}, None),
        ({"streak": 16, "skipped": 16, "scale": 1.0}, None),
    ],
)
def test_gs703_by_its_counts(details: dict[str, Any], reason: str | None) -> None:
    """On both sides of each threshold; no row is needed, as none may have run."""
    told = [f.evidence["reason"] for f in found(ScalerSkipsSteps(), facts=[skips(**details)])]
    assert ([] if reason is None else [reason]) == told


def test_gs703_points_at_the_line_that_makes_scalers() -> None:
    """All skipped: there is no row, and no optimizer in the record."""
    (finding,) = found(ScalerSkipsSteps(), facts=[skips(scalers=10, steps=0, scale=65536.0)])
    assert ("warning", MADE) == (finding.severity, finding.where)
    assert "skipped 10 of 10 steps, the newest 10 in a row" in finding.text
    assert "10 scalers each began at 65536" in finding.text
    assert "once, before the loop" in finding.advice[0].text


def test_gs703_names_the_operation_that_makes_nan() -> None:
    """From the look that was taken at a loss that was no number, and the advice is about it."""
    origin = LossOrigin(3, "operation", "log of 0", ("log",), optimizers=(0,))
    fact = skips(lately=20, scale=2.0**-20, not_finite=20)
    (finding,) = found(ScalerSkipsSteps(), optimizer(), facts=[fact, origin])
    assert "the loss was no number in 20 of them, whatever the scale" in finding.text and "log of 0" in finding.text
    assert "keep the argument of the log away from 0" in finding.advice[0].text
    (other,) = found(ScalerSkipsSteps(), optimizer(), facts=[fact, replace(origin, optimizers=(1,))])
    assert "no scale helps against NaN" in other.advice[0].text


def test_gs703_is_explained_by_what_broke_the_weights() -> None:
    """A loss that is no number at row 4, used by a step; from there on the scaler skips."""
    losses = [2.0, 2.0, 2.0, 2.0, np.nan, np.nan, np.nan, np.nan]
    fact = skips(since=5, streak=40, skipped=40, steps=8, scale=2.0**-20)
    sick = record(optimizer(losses=losses), facts=[fact], status="finished")
    told = {f.code: f.caused_by for f in diagnose(sick, RULES).findings}
    assert told["GS201"] is None and "GS201" == told["GS703"]


def test_gs104_leaves_out_rows_beside_a_skipped_step() -> None:
    """A clip over two optimizers makes zeroes of what is finite, where the other's gradients overflow."""
    cleared = HEALTHY | Wiring.CLEARED
    two = optimizer((cleared, cleared, *(HEALTHY,) * 2))
    assert 1 == len(found(GradientClearedBeforeStep(), two))
    assert [] == found(GradientClearedBeforeStep(), two, facts=[SkippedStep(0, 1), SkippedStep(1, 1)])


# -- GS704 ------------------------------------------------------------------------------------------------------------


def underflow(row: int, **details: Any) -> Underflow:
    """Of four layers the two far from the loss get zeroes."""
    values: dict[str, Any] = {
        "optimizer": 0, "layers": 4, "gone": 1, "faint": 1, "casts": 0, "size": 1.0, "parameter": "body.0.weight",
        "device": "cpu", "site": BACKWARD,
    }  # fmt: skip
    return Underflow(row, **{**values, **details})


def test_gs704_gives_the_scaler_to_paste() -> None:
    """At the line of backward, with the layer, and the loss that stays."""
    (finding,) = found(LowPrecisionGradientUnderflow(), optimizer(losses=STUCK), facts=list(map(underflow, range(4))))
    assert ("warning", BACKWARD, ("body.0.weight",)) == (finding.severity, finding.where, finding.parameters)
    assert "2 of 4 layers in float16" in finding.text and "2.3 after 150 steps" in finding.text
    for words in ('torch.amp.GradScaler("cpu")', "at line 12 scaler.scale(loss).backward()", "scaler.step(optimizer)"):
        assert words in finding.advice[0].text
    (half,) = found(
        LowPrecisionGradientUnderflow(), in_low_precision(STUCK, "float16"), facts=list(map(underflow, range(4)))
    )
    assert "keep the weights in float32" in half.advice[0].text


@pytest.mark.parametrize(
    ("losses", "looks", "details", "severities"),
    [
        (STUCK, 3, {}, ["warning"]),
        (STUCK, 2, {}, []),
        (STUCK[:48], 4, {}, ["warning"]),
        (STUCK[:47], 4, {}, ["info"]),
        (FALLING, 4, {}, ["info"]),
        (STUCK, 4, {"faint": 0}, []),  # a quarter
        (STUCK, 4, {"gone": 2, "faint": 0, "size": 64.0}, ["warning"]),
        (STUCK, 4, {"gone": 2, "faint": 0, "size": 65.0}, []),  # zeroes of another kind
        (STUCK, 4, {"gone": 2, "faint": 0, "size": 65.0, "casts": 1}, ["warning"]),
        (STUCK, 4, {"gone": 4, "faint": 0, "size": 0.0}, []),  # a loss of 0
        (STUCK, 4, {"optimizer": 3}, []),
    ],
)
def test_gs704_by_layers_looks_and_loss(
    losses: np.ndarray, looks: int, details: dict[str, Any], severities: list[str]
) -> None:
    """On both sides of each threshold."""
    facts = [underflow(row, **details) for row in range(looks)]
    told = found(LowPrecisionGradientUnderflow(), optimizer(losses=losses), facts=facts)
    assert severities == [f.severity for f in told]


LOW = np.full(60, 0.006)  # of a binary cross entropy with a small weight in front of it


@pytest.mark.parametrize(
    ("losses", "norm", "details", "severity"),
    [
        (LOW, 0.0, {}, "warning"),
        (LOW[:48], 0.0, {}, "warning"),
        (LOW[:47], 0.0, {}, "info"),
        (LOW, 1e-9, {}, "info"),  # some weight is given something
        (LOW, 0.0, {"gone": 3, "faint": 1}, "info"),
        (np.linspace(0.006, 0.005, 60), 0.0, {}, "info"),
        (np.full(60, 1e-6), 0.0, {}, "info"),
        (np.full(60, 1.1e-6), 0.0, {}, "warning"),
        (np.where(np.arange(60) < 50, 0.006, np.nan), 0.0, {}, "info"),
    ],
)
def test_gs704_below_a_guess_it_asks_for_zeroes_everywhere(
    losses: np.ndarray, norm: float, details: dict[str, Any], severity: str
) -> None:
    """Such a loss may be that of a trained model, so that it stays is not enough."""
    of_two = LossFunction(0, 0, "binary-cross-entropy", 2)
    zeroes = {"gone": 4, "faint": 0, "size": 0.0, "casts": 1, **details}
    facts = [of_two, *(underflow(row, **zeroes) for row in range(4))]
    (finding,) = found(LowPrecisionGradientUnderflow(), of_norms(norm, norm, losses), facts=facts)
    assert severity == finding.severity
    assert ("The loss is at" in finding.text) == (severity == "warning")


def test_gs704_without_a_learning_rate_is_info() -> None:
    """Nothing is meant to change."""
    facts = [LossFunction(0, 0, "binary-cross-entropy", 2), *(underflow(row, gone=4, faint=0) for row in range(4))]
    (finding,) = found(LowPrecisionGradientUnderflow(), of_norms(0.0, 0.0, LOW, lr=0.0), facts=facts)
    assert "info" == finding.severity


def test_gs704_is_over_once_gradients_are_there_again() -> None:
    """The newest look counts."""
    facts = [*map(underflow, range(4)), underflow(64, gone=0, faint=0, size=900.0)]
    assert [] == found(LowPrecisionGradientUnderflow(), optimizer(losses=STUCK), facts=facts)


# -- causes first -----------------------------------------------------------------------------------------------------


def test_consequences_are_folded() -> None:
    """A loss that stays is what each of the four is about."""
    for rule in (LowPrecisionUpdateLost, ClipBeforeUnscale, ScalerSkipsSteps, LowPrecisionGradientUnderflow):
        assert {"GS204", "GS302"} <= set(rule.explains)
    assert "GS404" in LowPrecisionGradientUnderflow.explains
    sick: Record = record(CUT, facts=[clip()], status="finished")
    assert [] == [f.code for f in diagnose(sick, RULES).findings if f.code != "GS702" and f.caused_by is None]
