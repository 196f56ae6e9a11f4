"""GS204 to GS206 on hand-made losses: found, quiet, and just on either side of each threshold."""
from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.events import Point
from gradscope.facts.fact import Fact
from gradscope.facts.loss import LossFunction, LossKind
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord
from gradscope.rules.base import Rule
from gradscope.rules.loss.loss_not_decreasing import LossNotDecreasing
from gradscope.rules.loss.loss_oscillating import LossOscillating, alternates, neighbours
from gradscope.rules.loss.loss_spike import LossSpike
from tests.records import optimizer, record

NAN = float("nan")
LN10 = float(np.log(10))
TEN = LossFunction(0, 0, "cross-entropy", 10)
RULES = (LossNotDecreasing(), LossOscillating(), LossSpike())


def found(
    rule: Rule, one: OptimizerRecord | Sequence[float], facts: Sequence[Fact] = (TEN,), status: str = "running"
) -> list[Finding]:
    one = one if isinstance(one, OptimizerRecord) else optimizer(losses=one)
    return list(rule.check(record(one, facts=facts, status=status)))


def noisy(level: Any, rows: int, sigma: float = 0.02, seed: int = 0) -> np.ndarray:
    return np.asarray(level * np.ones(rows) + sigma * np.random.default_rng(seed).normal(size=rows))


def measured(one: OptimizerRecord, gradient: Any, update: Any, weight: float = 1.0, every: int = 1) -> OptimizerRecord:
    """The same with norms of each parameter # (params,) or (rows, params) in every so manieth row."""
    rows, params = one.rows[::every], len(one.parameters)
    arrays: dict[str, Any] = {
        "row": rows,
        "state": np.zeros((len(rows), len(Point), params), np.uint8),
        "norm": np.zeros((len(rows), len(Point), params), np.float32),
        "weight_norm": np.full((len(rows), params), weight, np.float32),
        "update_norm": np.broadcast_to(np.asarray(update, np.float32), (len(rows), params)),
    }
    arrays["norm"][:] = np.broadcast_to(np.asarray(gradient, np.float32), (len(rows), params))[:, None]
    return replace(one, arrays=arrays)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
@pytest.mark.parametrize("losses", [[], [1.0], [NAN] * 300, [0.0] * 300], ids=["none", "one", "NaN", "0"])
def test_nothing_to_judge(rule: Rule, losses: list[float]) -> None:
    """No row, one, no number, a loss of exactly 0: no finding, no exception."""
    assert [] == found(rule, losses, status="finished")


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_a_loss_that_may_rise_is_not_judged(rule: Rule) -> None:
    """A target network takes part: and the report says so."""
    losses = [*noisy(LN10, 500), *[90.0, 2.3] * 100]
    one = record(optimizer(losses=losses), facts=[TEN, LossKind(3, 0, "moving-target")], status="finished")
    assert [] == list(rule.check(one))
    assert "may rise" in rule.not_judged(one)


# -- GS204 -------------------------------------------------------------------------------------------------------------


def test_a_loss_at_chance_level_is_found() -> None:
    """ln 10 from the first row on, flat: a warning that names the level and the number of classes."""
    (finding,) = found(LossNotDecreasing(), noisy(LN10, 1500))
    assert ("warning", (0, 1499)) == (finding.severity, finding.steps)
    assert "no better than a blind guess among 10 classes (2.303)" in finding.text


@pytest.mark.parametrize("level", [0.96, 1.07])
def test_another_level_is_not_chance(level: float) -> None:
    """A converged run, a regression: just beside the band it is not known what the loss could be."""
    assert [] == found(LossNotDecreasing(), noisy(level * LN10, 1500))


@pytest.mark.parametrize(("rows", "status", "count"), [(480, "running", 0), (560, "running", 1), (230, "finished", 1)])
def test_rows_that_are_asked_for(rows: int, status: str, count: int) -> None:
    """500 while it runs, 200 at its end (in whole blocks)."""
    assert count == len(found(LossNotDecreasing(), noisy(LN10, rows, 0.005, seed=3), status=status))


def test_a_slow_fall_is_one() -> None:
    """One percent in 1,500 rows, hardly to be seen: that is learning."""
    assert [] == found(LossNotDecreasing(), noisy(LN10 * np.linspace(1, 0.99, 1500), 1500), status="finished")


def test_noise_in_which_a_fall_would_not_show_says_nothing() -> None:
    """Single samples: hundreds of rows tell nothing of a start at a small rate."""
    assert [] == found(LossNotDecreasing(), noisy(LN10, 700, sigma=0.2), status="finished")


def test_weights_that_have_moved_far_need_fewer_rows() -> None:
    """A slow start has not moved; who has gone his own length and learned nothing is stuck. It says: the data."""
    one = optimizer(losses=noisy(LN10, 400, sigma=0.1))
    assert [] == found(LossNotDecreasing(), measured(one, 1.0, 1e-4), status="finished")
    (finding,) = found(LossNotDecreasing(), measured(one, 1.0, 1e-2), status="finished")
    assert "data" == finding.evidence["cause"]


def test_a_loss_that_was_better_is_another_rule_s_matter() -> None:
    """It had learned: GS203 says that it was lost again."""
    losses = np.concatenate([noisy(LN10, 200), noisy(1.5, 400), noisy(LN10, 900)])
    assert [] == found(LossNotDecreasing(), losses, status="finished")


def test_a_rate_that_still_rises_is_waited_for() -> None:
    """Warm-up."""
    one = optimizer(losses=noisy(LN10, 1500), lr=np.linspace(0, 1e-3, 1500))
    assert [] == found(LossNotDecreasing(), one)


def test_a_rate_of_zero_learns_nothing_on_purpose() -> None:
    """Nothing is to be said of the loss."""
    assert [] == found(LossNotDecreasing(), optimizer(losses=noisy(LN10, 1500), lr=0.0))


def test_losses_thrown_to_chance_level() -> None:
    """Up to 400 in the first rows, then ln 10: what threw it is the learning rate, and the advice is to lower it."""
    losses = np.concatenate([[2.3, 30.0], np.full(20, 400.0), noisy(LN10, 250)])
    (finding,) = found(LossNotDecreasing(), losses)
    assert "thrown-off" == finding.evidence["cause"]
    assert "set-lr" == finding.advice[0].action
    assert 20 <= finding.steps[0] <= 60


@pytest.mark.parametrize(
    ("gradient", "update", "cause"),
    [
        ([0.0, 0.0, 0.1], 0.0, "dead"),
        ([1e-9, 1e-9, 0.1], 1e-3, "zero"),
        ([1e-6, 1.0, 0.1], 1e-3, "vanishing"),
        ([1.0, 1.0, 0.1], 1e-8, "tiny-steps"),
        ([1.0, 1.0, 0.1], 0.5, "huge-steps"),
    ],
)
def test_the_cause_that_the_gradients_support(gradient: list[float], update: float, cause: str) -> None:
    """Named, with a piece of advice."""
    names, shapes = ("first.weight", "last.weight", "last.bias"), ((8, 8), (10, 8), (10,))
    one = optimizer(losses=noisy(LN10, 1500, 0.01), names=names, shapes=shapes)
    (finding,) = found(LossNotDecreasing(), measured(one, gradient, update))
    assert cause == finding.evidence["cause"]
    assert finding.advice and finding.text.count("{") == 0


def test_the_classes_come_from_the_loss_or_from_the_last_parameter() -> None:
    """A loss written by hand: the last parameter's shape tells; mean squared error has no chance level."""
    one = optimizer(losses=noisy(LN10, 1500), shapes=((10, 2), (10,)))
    assert 1 == len(found(LossNotDecreasing(), one, facts=()))
    assert 1 == len(found(LossNotDecreasing(), one, facts=[LossFunction(0, 0, "none")]))
    assert [] == found(LossNotDecreasing(), one, facts=[LossFunction(0, 0, "other")])
    assert [] == found(LossNotDecreasing(), optimizer(losses=noisy(LN10, 1500)), facts=())


@pytest.mark.parametrize(("gradient", "count"), [([0.0, 0.1], 1), ([1e-3, 0.1], 0)])
def test_a_dead_regression_is_found(gradient: list[float], count: int) -> None:
    """No weight has a gradient, and the loss is not 0; with gradients a flat loss may be a converged one."""
    one = measured(optimizer(losses=noisy(3.0, 200, sigma=0.3)), gradient, 0.0)
    assert count == len(found(LossNotDecreasing(), one, facts=[LossFunction(0, 0, "other")]))


def test_what_left_chance_level_later_is_over() -> None:
    """A plateau that ends: the finding turns into info."""
    early, late = noisy(LN10, 1500), np.concatenate([noisy(LN10, 1500), noisy(1.0, 600)])
    (finding,) = found(LossNotDecreasing(), early)
    assert not LossNotDecreasing().over(finding, record(optimizer(losses=early), facts=[TEN]))
    assert LossNotDecreasing().over(finding, record(optimizer(losses=late), facts=[TEN]))


# -- GS205 -------------------------------------------------------------------------------------------------------------


def bouncing(rows: int = 200, low: float = 1.0, high: float = 3.0, sigma: float = 0.05) -> np.ndarray:
    return np.maximum(noisy(np.resize([low, high], rows), rows, sigma), 1e-3)


def stepping(losses: np.ndarray, reach: float = 3.0, **more: Any) -> OptimizerRecord:
    """Steps whose gradient times update is about `reach`."""
    return measured(optimizer(losses=losses, **more), [1.0, 0.1], [reach, 0.0])


def test_a_bouncing_loss_is_found_with_its_advice() -> None:
    """1, 3, 1, 3, for 200 rows, and steps long enough for it."""
    (finding,) = found(LossOscillating(), stepping(bouncing()))
    assert "warning" == finding.severity
    assert 0.95 < finding.evidence["low"] < 1.1 and 2.9 < finding.evidence["high"] < 3.1
    assert ("set-lr", 0.01) == (finding.advice[0].action, finding.advice[0].values["to"])


@pytest.mark.parametrize(("reach", "count"), [(1.8, 0), (2.3, 1)])
def test_two_sources_by_turns_are_not_the_steps_fault(reach: float, count: int) -> None:
    """The swing is 2: shorter steps cannot have made it."""
    assert count == len(found(LossOscillating(), stepping(bouncing(), reach)))


def test_where_nothing_was_measured_nothing_is_said() -> None:
    """It cannot be told from two batches by turns."""
    assert [] == found(LossOscillating(), bouncing())


@pytest.mark.parametrize(("rows", "count"), [(95, 0), (96, 1)])
def test_96_rows_are_asked_for(rows: int, count: int) -> None:
    """The first 32 are passed over: large rates bounce there, and settle."""
    assert count == len(found(LossOscillating(), stepping(bouncing(rows))))


def test_an_oscillation_that_still_falls_is_healthy() -> None:
    """The edge of stability."""
    assert [] == found(LossOscillating(), stepping(bouncing(300) * np.geomspace(5, 1, 300)))


def test_a_run_that_has_fallen_far_may_bounce() -> None:
    """Below a tenth of its start it has converged."""
    losses = np.concatenate([np.geomspace(50, 1, 60), bouncing(300)])
    assert [] == found(LossOscillating(), stepping(losses))


def test_a_small_swing_counts_only_without_noise() -> None:
    """Ten percent."""
    assert 1 == len(found(LossOscillating(), stepping(bouncing(high=1.1, sigma=0.003))))
    assert [] == found(LossOscillating(), stepping(bouncing(high=1.1, sigma=0.04)))
    assert [] == found(LossOscillating(), stepping(bouncing(high=1.02, sigma=0.0003)))


def test_a_cyclic_rate_may_swing() -> None:
    """High and low by turns, as told."""
    assert [] == found(LossOscillating(), stepping(bouncing(), lr=np.resize([0.1, 0.3], 200)))


@pytest.mark.parametrize("kind", ["white", "period 3", "period 4"])
def test_noise_and_epochs_do_not_alternate(kind: str) -> None:
    """However large."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        base = {"white": rng.lognormal(size=200), "period 3": np.resize([1, 3, 2], 200), "period 4": [1, 1, 3, 3] * 50}
        losses = np.asarray(base[kind]) * np.exp(0.1 * rng.normal(size=200))
        assert [] == found(LossOscillating(), stepping(losses, 100.0))


def test_the_measures_of_alternation() -> None:
    """A pure alternation has -1, a slope and a constant have none."""
    pure = np.resize([1.0, 2.0], 64)
    assert alternates(pure) and not alternates(np.arange(64.0))
    assert neighbours(pure) < -0.95 and neighbours(np.arange(64.0)) > 0 and 0 == neighbours(np.ones(64))


# -- GS206 -------------------------------------------------------------------------------------------------------------


def spiked(rows: int, at: Sequence[int], peak: float, after: float = 0.0, length: int = 20) -> np.ndarray:
    """Losses that start at 2.3, fall to 0.5 within 50 rows, and jump; what is left decays over `length` rows."""
    losses = (0.5 + 1.8 * np.exp(-np.arange(rows) / 20)) * np.random.default_rng(1).gamma(100, 0.01, size=rows)
    for start in at:
        losses[start] = peak
        decay = after * np.exp(-np.arange(length) / (length / 4))
        losses[start + 1 : start + 1 + length] += decay[: max(0, rows - start - 1)]
    return losses


def test_a_single_spike_is_info_and_names_its_step() -> None:
    """With a trace behind it."""
    (finding,) = found(LossSpike(), spiked(600, [300], 8.0, 2.0))
    assert ("info", 300) == (finding.severity, finding.evidence["at"])
    assert "look at the batch of step 300: its inputs, its targets, their scale" == finding.advice[0].text


@pytest.mark.parametrize(("at", "severity"), [([300, 371], "info"), ([300, 371, 500], "warning")])
def test_the_third_spike_is_a_warning(at: list[int], severity: str) -> None:
    """Each worse than the untrained model."""
    (finding,) = found(LossSpike(), spiked(700, at, 8.0, 2.0))
    assert severity == finding.severity
    assert at == finding.evidence["spikes"]


def test_spikes_below_the_start_are_no_warning() -> None:
    """A run at a large rate, that recovers each time."""
    (finding,) = found(LossSpike(), spiked(700, [300, 371, 500], 2.5, 1.0))
    assert "info" == finding.severity


def test_new_tasks_at_regular_times_are_no_spikes() -> None:
    """Each starts where an untrained model does, and is learned."""
    task = 0.2 + 4 * np.exp(-np.arange(200) / 20)
    losses = np.tile(task, 6) * np.random.default_rng(0).gamma(100, 0.01, size=1200)
    assert [] == found(LossSpike(), losses)


@pytest.mark.parametrize(("peak", "count"), [(15.0, 0), (100.0, 1)])
def test_outliers_that_return_need_no_trace(peak: float, count: int) -> None:
    """More than ten times the start (1.7), and above all others, three times: the same corrupt samples."""
    hits = found(LossSpike(), spiked(700, [200, 317, 500], peak))
    assert count == len([f for f in hits if f.severity == "warning"])


def test_a_burst_is_not_three_spikes() -> None:
    """Nor what happens in the first rows."""
    assert [] == [f for f in found(LossSpike(), spiked(700, [300, 301, 302], 100.0)) if f.severity == "warning"]
    assert [] == [f for f in found(LossSpike(), spiked(700, [10, 317, 500], 100.0)) if f.severity == "warning"]


@pytest.mark.parametrize("tail", ["lognormal", "pareto", "student-t"])
def test_heavy_tails_are_no_spikes(tail: str) -> None:
    """Continuous up to the largest: no loss stands apart."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        base = {
            "lognormal": np.exp(1.5 * rng.normal(size=600)),
            "pareto": rng.pareto(1.5, size=600) + 1,
            "student-t": np.abs(rng.standard_t(2, size=600)),
        }
        assert [] == [f for f in found(LossSpike(), base[tail]) if f.severity != "info"]


def test_a_warm_restart_is_no_spike() -> None:
    """The learning rate jumps up, and the loss with it."""
    lr = np.full(700, 0.01)
    for at in (300, 371, 500):
        lr[at : at + 30] = 0.1
    assert [] == found(LossSpike(), optimizer(losses=spiked(700, [300, 371, 500], 8.0, 2.0), lr=lr))


def test_a_loss_that_stays_up_is_no_spike() -> None:
    """That is a rise (GS203): it has not healed."""
    losses = np.concatenate([spiked(300, [], 0.0), 3.0 + spiked(300, [], 0.0)[100:]])
    assert [] == found(LossSpike(), losses)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_judging_changes_nothing(rule: Rule) -> None:
    """Pure: the same findings twice."""
    one = record(stepping(bouncing(700)), facts=[TEN], status="finished")
    before = one.streams[0].loss.copy()
    assert list(rule.check(one)) == list(rule.check(one))
    assert (before == one.streams[0].loss).all()
