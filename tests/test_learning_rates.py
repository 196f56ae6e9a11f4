"""GS301 and GS302 on hand-made records: around each threshold, and where they must be silent."""
from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.facts.fact import Fact
from gradscope.facts.learning_rate import Hyperparameters, StepGeometry
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord
from gradscope.record.table import array_columns
from gradscope.rules.advice import change_lr, decade_down, grid_1_3_10, nearest_1_3_10, peaks
from gradscope.rules.learning_rate.learning_rate_too_high import LearningRateTooHigh
from gradscope.rules.learning_rate.learning_rate_too_low import LearningRateTooLow
from tests.records import optimizer, record

SHAPES = ((10, 8), (10,))
RMS = 0.1


def trained(
    losses: Sequence[float], lr: float | Sequence[float] = 0.1, ratio: float | Sequence[float] = 1e-3, kind: str = "SGD"
) -> OptimizerRecord:
    """An optimizer whose steps change the weights, of rms 0.1, by `ratio` of themselves; all rows are measured."""
    made = optimizer(losses=losses, lr=lr, shapes=SHAPES)
    rows = len(losses)
    norms = RMS * np.sqrt([np.prod(shape) for shape in SHAPES])
    columns: dict[str, Any] = {n: np.zeros((rows, *s), d) for n, (d, s) in array_columns(2).items()}
    columns["row"] = np.arange(rows)
    columns["norm"] = columns["norm"] + 1.0
    columns["weight_norm"] = np.broadcast_to(norms, (rows, 2)).astype(np.float32)
    ratios = np.broadcast_to(np.asarray(ratio, float), (rows,))
    columns["update_norm"] = (ratios[:, None] * norms).astype(np.float32)
    return replace(made, kind=kind, arrays=columns)


def high(made: OptimizerRecord, facts: Sequence[Fact] = (), status: str = "running") -> list[Finding]:
    return list(LearningRateTooHigh().check(record(made, facts=facts, status=status)))


def low(made: OptimizerRecord, facts: Sequence[Fact] = ()) -> list[Finding]:
    return list(LearningRateTooLow().check(record(made, facts=facts)))


def severities(findings: Sequence[Finding]) -> list[str]:
    return [finding.severity for finding in findings]


FALLING = 2.3 * np.exp(-np.arange(200) / 60)
FLAT = 2.3 + 0.01 * np.sin(np.arange(200))


# -- too high ----------------------------------------------------------------------------------------------------------


def test_nothing_is_said_of_a_run_that_goes_well() -> None:
    assert high(trained(FALLING)) == []
    assert high(trained(FALLING, lr=0.03, kind="Adam", ratio=0.3)) == []


@pytest.mark.parametrize("losses", [[], [2.3], [float("nan")] * 40, [2.3, float("nan")]])
def test_too_few_losses_or_none_that_is_a_number(losses: list[float]) -> None:
    made = trained(losses, ratio=1e-3) if losses else optimizer(wiring=())
    assert high(made) == low(made) == []


def test_an_lr_as_large_as_the_weights_is_info_until_the_loss_bears_it_out() -> None:
    just_below, just_above = trained([2.3] * 3, lr=0.069, kind="Adam"), trained([2.3] * 3, lr=0.071, kind="Adam")
    assert severities(high(just_below)) == []
    assert severities(high(just_above)) == ["info"]
    assert severities(high(trained([2.3, 4.7, 4.8], lr=0.071, kind="Adam"))) == ["info"]
    assert severities(high(trained([2.3, 2.3, 4.7, 4.8], lr=0.071, kind="Adam"))) == ["warning"]
    assert severities(high(trained([2.3, 2.3, 4.5, 4.5], lr=0.071, kind="Adam"))) == ["info"]


def test_several_times_the_weights_and_the_loss_a_fifth_up() -> None:
    assert severities(high(trained([2.3, 2.5, 2.8, 2.9], lr=0.3, kind="Adam"))) == ["warning"]
    assert severities(high(trained([2.3, 2.5, 2.7, 2.7], lr=0.3, kind="Adam"))) == ["info"]


def test_a_loss_that_shot_up_and_came_down_far_is_forgiven() -> None:
    losses = [2.3, 9.0, 40.0, 20.0, *np.full(30, 0.5)]
    assert severities(high(trained(losses, lr=0.3, kind="Adam"))) == ["info"]
    assert severities(high(trained([*losses[:4], *np.full(30, 0.8)], lr=0.3, kind="Adam"))) == ["warning"]


def test_three_losses_above_twice_the_start_after_large_steps() -> None:
    up = [2.3, 2.3, 4.7, 4.8, 4.7]
    assert severities(high(trained(up, ratio=0.11))) == ["warning"]
    assert high(trained(up, ratio=0.09)) == []
    assert high(trained([2.3, 2.3, 4.7, 4.5, 4.7], ratio=0.11)) == []


def test_of_one_sample_the_level_is_not_known() -> None:
    """A low first loss, of a regression or of a small batch, and noise."""
    rng = np.random.default_rng(5)
    for start in (0.05, 0.5, 1.9):
        losses = [start, *rng.lognormal(0, 0.7, 200)]
        for kind, lr in (("SGD", 0.1), ("Adam", 0.3)):
            assert "warning" not in severities(high(trained(losses, lr=lr, ratio=0.5, kind=kind)))


def test_steps_that_should_have_taken_half_of_the_loss() -> None:
    up = [2.3, 2.3, 4.7, 4.8, 4.7]
    for descent, told in ((1.2, ["warning"]), (1.1, [])):
        assert severities(high(trained(up), [StepGeometry(0, 0, 1.0, 0.1, float("nan"), descent)])) == told


def test_far_above_is_an_error() -> None:
    assert severities(high(trained([2.3, 30.0, 40.0, 50.0], ratio=0.5))) == ["error"]


def test_not_finite_after_growth() -> None:
    nan = [float("nan")] * 3
    [found] = high(trained([2.3, 3.0, 9.0, 1e9, *nan]))
    assert found.severity == "error" and found.steps == (1, 6)  # the loss after the first step
    assert severities(high(trained([2.3, 2.8, *nan], ratio=0.5))) == ["error"]
    assert high(trained([2.3, 2.8, *nan])) == high(trained([2.3, 2.7, *nan], ratio=0.5)) == []  # a logarithm of zero
    assert high(trained([*nan, *nan])) == []


def test_a_loss_that_is_no_number_after_noise_is_not_the_learning_rates() -> None:
    """Small noisy losses, one of which stood above twice the first: a logarithm of 0."""
    nan = [float("nan")] * 3
    for seed in range(20):
        noise = np.random.default_rng(seed).lognormal(-5, 0.7, 60)
        assert high(trained([noise.min(), *noise, 0.0205, *nan])) == []
    steady = np.full(60, 2.0)
    assert severities(high(trained([*steady, 5.0, 20.0, 300.0, *nan]))) == ["error"]
    assert severities(high(trained([*steady, 4.1, 4.2, 4.3, *nan]))) == ["error"], "three beyond all before"
    assert high(trained([*steady, 3.9, 4.2, 4.3, *nan])) == []


@pytest.mark.parametrize(
    ("what", "told"),
    [("log of 0 (1 of 9 values)", []), ("0 / 0", []), ("exp overflows", ["error"]), ("", ["error"])],
)
def test_an_operation_that_was_given_no_huge_values_is_to_blame_itself(what: str, told: list[str]) -> None:
    """Unless the loss had left all bounds after large steps."""
    losses = [2.3, 3.0, 9.0, float("nan"), float("nan"), float("nan")]
    fact = LossOrigin(3, "operation", what, ("log",))
    assert severities(high(trained(losses), [fact])) == told
    assert severities(high(trained(losses, ratio=0.5), [fact])) == told
    assert severities(high(trained([2.3, 30.0, 900.0, *losses[3:]], ratio=0.5), [fact])) == ["error"]


def test_a_derivative_that_is_infinite_is_to_blame_itself() -> None:
    """The gradients of the step before were lost to it, and with them the parameters."""
    losses = [2.3, 3.0, 9.0, float("nan"), float("nan"), float("nan")]
    broken = LossOrigin(3, "parameter", parameters=("w",), cause="gradient")
    lost = GradientOrigin(3, (0,), ("w",), 1, 1, ("sqrt",), ("sqrt at 0",), late=True)
    assert severities(high(trained(losses), [broken])) == ["error"]
    assert severities(high(trained(losses), [broken, lost])) == []


def test_a_blow_up_later_in_a_run_of_small_steps_must_grow() -> None:
    """Data that change make one jump; steps that are too large make the loss grow from step to step."""
    grows, jumps = [*FALLING[:60], 3, 5, 9, 16, 30, 60], [*FALLING[:60], 9, 9, 9.1, 9, 9.1]
    assert severities(high(trained(grows))) == ["error"]
    assert high(trained(jumps)) == []


@pytest.mark.parametrize("seed", range(20))
def test_heavy_tails_of_single_samples_are_no_blow_up(seed: int) -> None:
    losses = np.random.default_rng(seed).lognormal(0, 1.5, 1500)
    for rows in (8, 32, 100, 500, 1500):
        assert high(trained(losses[:rows])) == []


def test_stuck_under_large_steps() -> None:
    assert severities(high(trained(FLAT[:60], ratio=0.04))) == ["warning"]
    assert high(trained(FLAT[:60], ratio=0.02)) == []
    assert high(trained(FLAT[:40], ratio=0.04)) == []
    assert high(trained(FLAT[:60] * np.linspace(1, 0.9, 60), ratio=0.04)) == []
    assert high(trained(FLAT[:60], lr=1e-3, ratio=0.04, kind="Adam")) == []  # as large as Adam's first steps are


def test_at_chance_level_after_steps_as_large_as_the_weights() -> None:
    losses = [4.0, 3.0, 2.4, *np.full(60, np.log(10))]
    assert severities(high(trained(losses, lr=0.1, kind="Adam"))) == ["warning"]
    assert severities(high(trained([4.0, 3.0, 2.4, *np.full(60, 1.8)], lr=0.1, kind="Adam"))) == ["info"]


def widened(column: Any) -> Any:
    """The same with each parameter three times."""
    return np.concatenate([column] * 3, axis=-1) if column.ndim > 1 else column


def test_a_network_thrown_far_and_still_high_after_fifty_steps() -> None:
    """Prompts and embeddings are one or two matrices, begin small, and may stay high."""
    made = trained([*np.linspace(4.0, 2.0, 10), *np.full(60, 1.8)], lr=0.3, kind="Adam")
    network = replace(made, parameters=made.parameters * 3, arrays={n: widened(v) for n, v in made.arrays.items()})
    small = {**network.arrays, "weight_norm": 0.2 * network.arrays["weight_norm"]}
    assert severities(high(made)) == ["info"]
    assert severities(high(network)) == ["warning"]
    assert severities(high(replace(network, arrays=small))) == ["info"]


def test_a_little_better_than_guessing_is_learning() -> None:
    """Nearly random targets, text of high entropy."""
    losses = [2.4, 2.35, *np.full(60, 0.98 * np.log(10))]
    assert severities(high(trained(losses, lr=0.1, kind="Adam"))) == ["info"]


def test_gradients_that_died() -> None:
    ratios = [0.5, 0.5, *np.full(40, 1e-5)]
    [found] = high(trained([2.3, *np.full(41, 2.3)], ratio=ratios))
    assert (found.severity, "all but gone" in found.text) == ("error", True)
    assert high(trained([2.3, *np.full(41, 1.9)], ratio=ratios)) == []


def test_fell_shot_up_and_is_back() -> None:
    losses = [*FALLING[:100], 6.0, 5.0, 3.0, *np.full(60, 2.1)]
    assert "is back" in high(trained(losses, ratio=0.2))[0].text
    assert high(trained(losses)) == []  # the data may have changed
    resumed = [*np.full(100, 0.01), *np.full(30, 0.005), 7.6, 7.6, 3.0, *np.full(60, 0.2)]
    assert high(trained(resumed, lr=5e-4, kind="Adam")) == []  # new classes
    assert high(trained([*losses[:100], 4.0, 5.0, 3.0, *np.full(60, 1.9)], ratio=0.2)) == []


def test_told_to_climb() -> None:
    facts = [Hyperparameters(0, 0, 0, {"maximize": True})]
    assert high(trained([2.3, 30.0, 40.0, 50.0], ratio=0.5), facts) == []


def test_a_late_rise_at_a_constant_lr() -> None:
    rng = np.random.default_rng(0)
    level = np.concatenate([np.linspace(2.3, 1.5, 8000), np.linspace(1.5, 2.2, 8000)])
    losses = level * rng.lognormal(0, 0.3, 16000)
    [found] = high(trained(losses, lr=0.01))
    assert (found.severity, found.advice[0].values["to"]) == ("warning", 0.001)
    assert high(trained(losses[:8000], lr=0.01)) == []
    assert high(trained(losses, lr=0.01, ratio=1e-4)) == []
    assert high(trained(losses, lr=np.linspace(0.01, 0.02, 16000))) == []


def test_a_rise_under_the_noise_of_single_samples_is_no_jump() -> None:
    """Its peaks are high and it is back at its start, but it went there step by step."""
    level = np.concatenate([np.linspace(2.3, 1.5, 8000), np.linspace(1.5, 2.3, 8000)])
    noise = np.random.default_rng(1).lognormal(-0.5, 1.0, 16000)
    [found] = high(trained([*[2.3] * 4, *(level * noise)[4:]], lr=0.01))
    assert "has risen" in found.text and found.advice[0].values["to"] == 0.001


def test_what_was_found_stays_until_the_loss_has_come_down_far_enough() -> None:
    rule = LearningRateTooHigh()
    [stuck] = high(trained(FLAT[:60], ratio=0.04))
    [rose] = high(trained([2.3, 9.0, 9.0, 9.0], ratio=0.5))
    for found, kept, over in ((stuck, 0.91, 0.89), (rose, 0.34, 0.32)):
        for share, expected in ((kept, False), (over, True)):
            assert rule.over(found, record(trained([*FLAT[:60], *np.full(40, 2.3 * share)]))) is expected


def test_advice_for_adaptive_optimizers_is_a_tenth_of_the_weights() -> None:
    [found] = high(trained([2.3, 9.0, 9.0, 9.0], lr=1.0, kind="AdamW"))
    assert found.advice[0].values == {"optimizer": 0, "group": 0, "from": 1.0, "to": 0.01}


def test_advice_for_sgd_is_the_middle_of_four_estimates_and_below_the_lr() -> None:
    facts: list[Fact] = [StepGeometry(0, 0, 1.0, 0.1, float("nan"), 0.1), StepGeometry(1, 0, 1.0, 0.1, 2.0, 0.1)]
    [found] = high(trained([2.3, 9.0, 9.0, 9.0], lr=0.1, ratio=0.2), facts)
    estimates = found.evidence["advised_from"]
    assert estimates == {"tenth": 0.01, "time": pytest.approx(0.00333, rel=1e-2), "weights": 0.002, "secant": 0.1}
    assert found.advice[0].values["to"] == 0.01  # the nearest to 0.0058
    [found] = high(trained([2.3, 9.0, 9.0, 9.0], lr=0.1, ratio=0.2))
    assert found.advice[0].values["to"] < 0.1


# -- too low -----------------------------------------------------------------------------------------------------------


def test_tiny_steps_and_a_loss_that_stays() -> None:
    [found] = low(trained(FLAT, ratio=9e-5, lr=1e-3))
    assert found.severity == "warning"
    assert found.advice[0].values["to"] == 0.03  # steps of three thousandths of the weights
    assert low(trained(FLAT, ratio=1.1e-4)) == []
    assert low(trained(FLAT[:99], ratio=9e-5)) == []
    assert low(trained(FLAT * np.linspace(1, 0.85, 200), ratio=9e-5)) == []


def test_adaptive_optimizers_by_their_lr() -> None:
    [found] = low(trained(FLAT, lr=2.9e-5, ratio=2.9e-4, kind="AdamW"))
    assert (found.severity, found.advice[0].values["to"]) == ("warning", 0.01)
    assert low(trained(FLAT, lr=3.1e-5, ratio=3.1e-4, kind="AdamW")) == []


def test_a_warm_up_is_no_low_lr() -> None:
    assert low(trained(FLAT, lr=np.linspace(1e-9, 1e-5, 200), ratio=1e-5)) == []


def test_a_loss_that_started_low_is_info() -> None:
    assert severities(low(trained(0.2 + 0 * FLAT, ratio=1e-5))) == ["info"]


def test_noise_that_hides_a_fall() -> None:
    rng = np.random.default_rng(1)
    losses = np.linspace(2.3, 1.9, 400) * rng.lognormal(0, 1, 400)
    assert low(trained(losses, ratio=1e-5)) == []


def test_an_lr_of_0() -> None:
    [found] = low(trained(FLAT, lr=0.0, ratio=0.0))
    assert (found.severity, found.advice[0].action) == ("warning", None)


def test_what_a_schedule_has_brought_down_is_not_low() -> None:
    assert low(trained(FLAT, lr=0.1 * 0.9 ** np.arange(200), ratio=1e-6)) == []


# -- the grid ----------------------------------------------------------------------------------------------------------


def test_the_grid() -> None:
    assert [grid_1_3_10(v) for v in (0.001, 0.0029, 0.003, 0.0099, 3e-7)] == [0.001, 0.001, 0.003, 0.003, 3e-7]
    assert [nearest_1_3_10(v) for v in (0.001, 0.0016, 0.0018, 0.005, 0.006)] == [0.001, 0.001, 0.003, 0.003, 0.01]


def test_a_schedule_is_advised_at_its_peak_and_a_lowered_lr_as_it_is() -> None:
    made = trained(FALLING, lr=np.linspace(0.001, 0.01, 200))
    facts = [Hyperparameters(0, 0, 0, {"max_lr": 0.1, "initial_lr": 0.004})]
    known = record(made, facts=facts)
    assert peaks(known, made) == [0.1]
    [advice] = change_lr(made, peaks(known, made), 0.01)
    assert advice.text == "lower lr to 0.01 at its peak (it is 0.1)"
    lowered = trained(FALLING, lr=np.repeat([0.1, 0.01], 100))
    assert decade_down(record(lowered), lowered)[0].values["to"] == 0.001
