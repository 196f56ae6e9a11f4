"""GS601 and GS603 on hand-made records: quiet, found, just below and just above their thresholds."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gradscope.diagnosis import diagnose
from gradscope.events import Site
from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import Fact
from gradscope.facts.inputs import BatchLooks, InputScale
from gradscope.facts.learning_rate import Hyperparameters
from gradscope.facts.loss import LossFunction, SharedLoss
from gradscope.facts.model import Firing, Saturation
from gradscope.findings import Finding
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import RULES
from gradscope.rules.data.input_not_normalized import InputNotNormalized
from gradscope.rules.data.repeated_batch import RepeatedBatch
from tests.records import optimizer, record

TEN = LossFunction(0, 0, "cross-entropy", 10)
GUESS = math.log(10)
NAN = float("nan")
STUCK = [9.0] * 4 + [GUESS] * 56


def found(rule: Rule, facts: list[Fact], losses: list[float] = STUCK, status: str = "running") -> list[Finding]:
    return list(rule.check(record(optimizer(losses=losses, lr=0.01), facts=facts, status=status)))


# -- GS601 -------------------------------------------------------------------------------------------------------------


def scale(rms: float = 120.0, high: float = 255.0, **other: object) -> InputScale:
    """Of images of one channel, by default."""
    fact = InputScale(
        3, 0, "conv1", "convolution", 1, 128, rms / 2, rms * 0.866, rms, 0.0, high, True, 0, (rms, rms, rms),
        (rms / 2,), (rms * 0.866,), (0,), (rms / 2,), (rms * 0.866,), False,
    )  # fmt: skip
    return replace(fact, **other)  # type: ignore[arg-type]


def severities(*facts: Fact, losses: list[float] = STUCK, status: str = "running") -> list[str]:
    return [f.severity for f in found(InputNotNormalized(), [TEN, *facts], losses, status)]


def test_raw_pixels_are_told_with_the_code_that_scales_them() -> None:
    """Where, what they are like, what the loss has done; /255 and the Normalize for what is left."""
    (finding,) = found(InputNotNormalized(), [TEN, scale()])
    assert ("warning", (0, 59), ("conv1",)) == (finding.severity, finding.steps, finding.parameters)
    assert finding.text.startswith("the inputs of conv1 are not normalised: values from 0 to 255 (mean 60, std 104)")
    assert finding.text.endswith("after 60 steps the loss is 2.3 (it began at 9; a blind guess: 2.3)")
    assert finding.advice[0].text.startswith("x = x / 255")
    assert "Normalize(mean=(0.235,), std=(0.408,))" in finding.advice[1].text


@pytest.mark.parametrize(
    "rms, high, severity",
    [(19.9, 255.0, None), (20.1, 255.0, "warning"), (0.019, 0.09, "warning"), (0.021, 0.09, None), (0.019, 0.11, None)],
)
def test_inputs_must_be_far_off(rms: float, high: float, severity: str | None) -> None:
    """An rms of 20, or of 0.02 where no value is above 0.1 (one-hot inputs have a small rms, too)."""
    losses = STUCK + [GUESS] * 100
    assert [severity] * (severity is not None) == severities(scale(rms, high), losses=losses)


def test_what_is_normalised_at_once_and_few_samples_are_no_finding() -> None:
    """BatchNorm behind the first layer; seven samples."""
    assert [] == severities(scale(normalised=True)) == severities(scale(samples=7))
    assert ["warning"] == severities(scale(samples=8))


@pytest.mark.parametrize(
    "losses, severity",
    [
        ([9.0] * 4 + [0.96 * GUESS] * 46, "warning"),
        ([9.0] * 4 + [0.94 * GUESS] * 46, "info"),
        ([9.0] * 4 + [0.96 * GUESS] * 45, None),
        ([2.1 * GUESS] + [GUESS] * 50, "warning"),
        ([1.9 * GUESS] + [GUESS] * 50, "info"),
        ([GUESS] * 149, "info"),
        ([GUESS] * 150, "warning"),
        ([9.0, NAN, NAN, NAN], "warning"),
        ([9.0, NAN, NAN, 9.0], None),
        ([2.0] * 5 + [NAN] * 3, None),
        ([2.0] * 5 + [4.5] + [NAN] * 3, "warning"),
        ([2.0, 4.7, 4.7, 4.7], "warning"),
        ([2.0, 4.7, 3.9, 4.7], None),
        ([NAN] * 60, None),
        ([9.0], None),
        ([9.0] * 4 + [1.0] * 60, "info"),
    ],
)
def test_the_run_must_be_hurt(losses: list[float], severity: str | None) -> None:
    """No better than a guess after a start far above it, or for long; no number any more; above its start."""
    assert [severity] * (severity is not None) == severities(scale(), losses=losses)


@pytest.mark.parametrize("share, severity", [(0.59, "info"), (0.61, "info")])
def test_a_loss_that_came_below_a_guess_is_let_alone_with_sgd(share: float, severity: str) -> None:
    """It may be that its lr suits them."""
    assert [severity] == severities(scale(), losses=[9.0] * 4 + [share * GUESS] * 300)


@pytest.mark.parametrize(
    "share, losses, thrown, severity",
    [(0.61, 250, 80.0, "warning"), (0.59, 250, 80.0, "info"), (0.61, 190, 80.0, "info"), (0.61, 250, 40.0, "info")],
)
def test_one_that_was_thrown_far_and_stays_halfway_is_hurt(
    share: float, losses: int, thrown: float, severity: str
) -> None:
    """To eight times its start; still above 0.6 of a guess after 200 rows."""
    course = [9.0] + [thrown] * 3 + [share * GUESS] * (losses - 4)
    assert [severity] == severities(scale(), losses=course)


def test_flat_and_dead_layers_are_harm() -> None:
    """A first layer at its asymptotes at half of a guess; nine of ten units dead at a third."""
    flat = Saturation(0, 0, "conv1", "Tanh", 9, 9, 0.61, 120.0, 0.1, 9, True)
    dead = Firing(66, 0, "conv1", "ReLU", 100, (90,) * 4, (512,) * 4, (0,) * 4, 0.1, 0.0)
    half, third = ([2.0] + [share * GUESS] * 120 for share in (0.55, 0.35))
    assert ["warning"] == severities(scale(), flat, losses=half)
    assert ["info"] == severities(scale(), flat, losses=third)
    assert ["info"] == severities(scale(), replace(flat, saturated=0.59), losses=half)
    assert ["warning"] == severities(scale(), dead, losses=third)
    assert ["info"] == severities(scale(), replace(dead, silent=(89,) * 4), losses=third)


def test_a_rate_too_high_for_any_inputs_comes_first() -> None:
    """Above 3, momentum counted in, it is info here."""
    calm, bold = (Hyperparameters(0, 0, 0, {"momentum": m}) for m in (0.99, 0.999))
    assert ["warning"] == severities(scale(), calm) and ["info"] == severities(scale(), bold)


def test_losses_that_may_rise_are_not_judged() -> None:
    """Adversarial ones."""
    both = optimizer(losses=STUCK), optimizer(losses=STUCK, number=1)
    assert 1 == len(list(InputNotNormalized().check(record(*both, facts=[TEN, scale()]))))
    assert [] == list(InputNotNormalized().check(record(*both, facts=[TEN, scale(), SharedLoss(1, 0, 1)])))


def test_it_is_taken_back_once_the_loss_is_far_below_a_guess() -> None:
    """Half of it."""
    (finding,) = found(InputNotNormalized(), [TEN, scale()])
    low, high = (record(optimizer(losses=STUCK + [s * GUESS] * 60), facts=[TEN, scale()]) for s in (0.45, 0.55))
    assert InputNotNormalized().over(finding, low) and not InputNotNormalized().over(finding, high)


def test_tables_are_told_with_their_worst_columns() -> None:
    """Few columns: numbers to paste. Many: the line that computes them."""
    table = scale(
        222.0, 1680.0, layer="matrix", features=3, place="fc", rms_of_features=(0.4, 2.6, 794.0),
        means=(13.0, 2.3, 746.9), deviations=(0.8, 1.1, 314.9), worst=(2, 0, 1), worst_means=(746.9, 13.0, 2.3),
        worst_deviations=(314.9, 0.8, 1.1),
    )  # fmt: skip
    (few,) = found(InputNotNormalized(), [TEN, table])
    assert "3 features with rms from 0.4 to 794 (feature 2 has mean 746.9 and std 315)" in few.text
    assert "x = (x - torch.tensor([13, 2.3, 746.9])) / torch.tensor([0.8, 1.1, 314.9])" in few.advice[0].text
    (many,) = found(InputNotNormalized(), [TEN, replace(table, features=40, means=(), deviations=())])
    assert "features = (features - mean) / std" in many.advice[0].text
    assert "2 (mean 746.9, std 315)" in many.advice[0].text
    series = scale(100.0, 115.0, layer="recurrent", features=1, low=85.0, whole=False)
    (one,) = found(InputNotNormalized(), [TEN, series])
    assert "x = (x - 50) / 86.6" in one.advice[0].text


def test_what_follows_from_raw_inputs_is_folded_under_them() -> None:
    """GS301 and GS202 of the same run come below GS601."""
    losses = [9.0, 40.0, 300.0, 5e3, 9e4, 8e6, 7e8, 9e10, 1e12, 1e14, *[1e16] * 20]
    one = record(optimizer(losses=losses, lr=0.1), facts=[TEN, scale()])
    first, *others = diagnose(one, RULES).findings
    assert "GS601" == first.code and others and {"GS601"} == {f.caused_by for f in others}


# -- GS603 -------------------------------------------------------------------------------------------------------------

SITE = Site("train.py", 7, "main")
LOOKS = BatchLooks(66, 0, 7, True, 67, 32, True, True, 67, 0, 67, 1, 20, True, False, SITE)


def repeated(status: str = "running", **other: object) -> list[Finding]:
    return found(RepeatedBatch(), [replace(LOOKS, **other)], [1.0] * 67, status)  # type: ignore[arg-type]


def test_iterators_begun_anew_are_told_with_their_line() -> None:
    """How many, of how many batches; the line that begins them."""
    (finding,) = repeated()
    assert ("warning", SITE) == (finding.severity, finding.where)
    assert "same batch of 32 samples (in all 7 rows looked at): 67 iterators" in finding.text
    assert "each gave its first batch of 20" in finding.text and "iterate over the loader" in finding.advice[0].text


@pytest.mark.parametrize(
    "change, severity",
    [
        ({"equal": False}, None),
        ({"begun": 0}, None),
        ({"batches": 1}, None),
        ({"batches": 0}, "info"),
        ({"library": True}, "info"),
        ({"ended": 66}, None),
        ({"ended": 2}, "warning"),
        ({"alike": None}, None),
        ({"alike": False}, "warning"),
        ({"alike": False, "complete": False}, None),
        ({"most": 20, "begun": 4, "ended": 3}, "warning"),
        ({"most": 20, "begun": 4, "ended": 3, "samples": 1}, "info"),
        ({"advances": False, "begun": 1, "given": 1}, "info"),
        ({"advances": False, "begun": 1, "given": 1, "batches": 1}, None),
        ({"advances": False, "begun": 1, "given": 1, "steps": 59}, None),
        ({"advances": False, "begun": 3, "given": 3}, "warning"),
        ({"advances": False, "begun": 3, "given": 3, "steps": 16}, "warning"),
        ({"advances": False, "begun": 3, "given": 3, "library": True}, "info"),
        ({"advances": False, "begun": 3, "given": 3, "batches": 1}, None),
        ({"begun": 0, "pool": "train_x", "rows": 640, "size": "BATCH"}, "warning"),
        ({"begun": 0, "pool": "train_x", "rows": 640, "size": "", "advances": False}, None),
        ({"begun": 0, "pool": "", "rows": 0, "size": "BATCH"}, None),
        ({"looks": 5}, None),
        ({"looks": 6}, "warning"),
        ({"steps": 15}, None),
    ],
)
def test_why_it_is_the_same_batch(change: dict[str, object], severity: str | None) -> None:
    """The loader decides: others that it has, that it gave, that it would give."""
    assert [severity] * (severity is not None) == [f.severity for f in repeated(**change)]


@pytest.mark.parametrize("seeded, steps, count", [(0, 67, 0), (60, 67, 0), (61, 67, 1), (70, 67, 1), (15, 15, 0)])
def test_a_seed_before_each_batch(seeded: int, steps: int, count: int) -> None:
    """In nine of ten steps, and without a loader; at its line."""
    found = repeated(begun=0, given=0, advances=False, alike=None, seeded=seeded, steps=steps)
    assert count == len(found)
    for finding in found:
        assert ("warning", SITE) == (finding.severity, finding.where)
        assert f"torch.manual_seed was called {seeded} times with the same seed" in finding.text
    assert [] == repeated(begun=0, seeded=seeded, steps=steps, equal=False)


def test_short_runs_are_judged_at_their_end() -> None:
    """Three looks do then, two do not; 16 steps."""
    assert [] == repeated(looks=3) == repeated("finished", looks=2) == repeated("finished", looks=3, steps=15)
    assert 1 == len(repeated("finished", looks=3, steps=16))


def test_another_variable_is_told_at_the_line_of_the_loss() -> None:
    """Where the loop gives the model something else than what the loader gave."""
    (finding,) = repeated(alike=False)
    assert finding.where is not None and 12 == finding.where.line and "was given none of them" in finding.text


def test_it_is_over_once_another_batch_is_seen() -> None:
    """As long as all looks are equal it stays."""
    (finding,) = repeated()
    one = record(optimizer(losses=[1.0] * 67), facts=[LOOKS])
    assert not RepeatedBatch().over(finding, one)
    assert RepeatedBatch().over(finding, record(facts=[replace(LOOKS, equal=False)]))


@pytest.mark.parametrize("fact", [scale(), LOOKS])
def test_facts_are_written_and_read(fact: Fact) -> None:
    """As JSON, the line included."""
    assert fact == from_json(to_json(fact))
