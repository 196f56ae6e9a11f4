"""GS201 to GS203 on hand-made losses: found, quiet, and just on either side of each threshold."""
from __future__ import annotations

from typing import Sequence

import numpy as np
import pytest

from gradscope.diagnosis import FindingLog, diagnose
from gradscope.facts.learning_rate import Hyperparameters
from gradscope.facts.loss import LossKind, SharedLoss
from gradscope.findings import Finding
from gradscope.record.record import Record, Wiring
from gradscope.rules.advice import grid_1_3_10
from gradscope.rules.base import Rule
from gradscope.rules.loss.loss_exploding import LossExploding
from gradscope.rules.loss.loss_not_finite import LossNotFinite
from gradscope.rules.loss.loss_rising import LossRising
from tests.records import optimizer, record

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(0)


def found(rule: Rule, losses: Sequence[float], **more: object) -> list[Finding]:
    return list(rule.check(record(optimizer(losses=losses, **more))))  # type: ignore[arg-type]


def noisy(level: Sequence[float] | np.ndarray, sigma: float = 0.3, seed: int = 0) -> list[float]:
    """Losses of this level under multiplicative noise."""
    rng = np.random.default_rng(seed)
    shape = 1 / sigma**2
    return list(np.asarray(level) * rng.gamma(shape, 1 / shape, size=len(level)))


def fallen(rows: int = 600, to: float = 1.0) -> np.ndarray:
    return to + 1.3 * np.exp(-np.arange(rows) / 60)


# -- GS201 -------------------------------------------------------------------------------------------------------------


def test_a_nan_loss_is_found_at_its_row() -> None:
    """The first loss that is no number, the one before it, and that it stayed so."""
    (finding,) = found(LossNotFinite(), [2.0, 1.5, NAN, NAN, NAN])
    assert (2, 4) == finding.steps
    assert "the loss was nan at step 2, 1.5 a step before, and 2 times in a row since" == finding.text
    assert finding.where is not None and 12 == finding.where.line


def test_an_infinite_loss_is_found_too() -> None:
    """Inf in a run that goes on with numbers: the weights were spared, which is worth a word at the end."""
    assert [] == found(LossNotFinite(), [2.0, INF, 1.0, 1.0])
    one = record(optimizer(losses=[2.0, INF, 1.0, 1.0]), status="finished")
    (finding,) = LossNotFinite().check(one)
    assert ((1, 1), "info") == (finding.steps, finding.severity)
    assert "1 losses of 4 were not finite" in finding.text


@pytest.mark.parametrize("losses", [[], [1.0], [1e38, -1e38, 0.0]], ids=["none", "one", "huge"])
def test_finite_losses_are_quiet(losses: list[float]) -> None:
    """However large: that is another rule's matter."""
    assert [] == found(LossNotFinite(), losses)


def test_rows_without_a_loss_are_not_nan_losses() -> None:
    """A backward from something that is no scalar has no loss: not known is not NaN."""
    one = optimizer(wiring=(Wiring.NO_LOSS,) * 5)
    one.scalars["loss"][:] = NAN
    assert [] == list(LossNotFinite().check(record(one)))


def test_nan_from_the_first_step_on() -> None:
    """Nothing was before it."""
    (finding,) = found(LossNotFinite(), [NAN] * 6)
    assert "at step 0, the first one" in finding.text


@pytest.mark.parametrize(("rows", "status", "severity"), [
    (15, "running", None), (16, "running", "error"), (15, "finished", "info"), (16, "finished", "error"),
])  # fmt: skip
def test_a_loss_that_is_no_number_for_good_after_one_that_was_spared(
    rows: int, status: str, severity: str | None
) -> None:
    """The first one did no harm: the finding is of the second, as soon as there are more than a guard may skip."""
    losses = [2.0, NAN, *[1.5] * 10, *[NAN] * rows]
    results = list(LossNotFinite().check(record(optimizer(losses=losses), status=status)))
    assert [severity] * (severity is not None) == [finding.severity for finding in results]
    assert all((12 if severity == "error" else 1) == finding.steps[0] for finding in results)


def test_losses_that_are_spared_often_are_no_error() -> None:
    """A guard that leaves out steps: 20 in a row, a pause, and 39 more; 40 would be twice as many."""
    for last, severity in ((39, "info"), (40, "error")):
        losses = [2.0, *[NAN] * 20, *[1.5] * 10, *[NAN] * last]
        (finding,) = LossNotFinite().check(record(optimizer(losses=losses), status="finished"))
        assert severity == finding.severity


@pytest.mark.parametrize(("rows", "count"), [(2, 0), (3, 1)])
def test_three_in_a_row_are_asked_for(rows: int, count: int) -> None:
    """A single one may come of an empty selection; at the end of the run it is the last word."""
    losses = [2.0, 1.5, *[NAN] * rows]
    assert count == len(found(LossNotFinite(), losses))
    (finding,) = LossNotFinite().check(record(optimizer(losses=losses), status="finished"))
    assert "error" == finding.severity


# -- GS202 -------------------------------------------------------------------------------------------------------------


def test_a_loss_that_leaves_its_scale_is_found() -> None:
    """Twenty times the start, for good."""
    (finding,) = found(LossExploding(), noisy([2.0] * 50 + [40.0] * 30))
    assert 50 == finding.steps[0]
    assert "2" in finding.text and "step 50" in finding.text


@pytest.mark.parametrize(("times", "count"), [(8.0, 0), (13.0, 1)])
def test_ten_times_is_the_threshold(times: float, count: int) -> None:
    """Just below, just above."""
    assert count == len(found(LossExploding(), noisy([1.0] * 60 + [times] * 60, sigma=0.02)))


@pytest.mark.parametrize(("rows", "count"), [(13, 0), (16, 1)])
def test_sixteen_rows_are_asked_for(rows: int, count: int) -> None:
    """A burst that heals is none: fewer rows beyond the scale say nothing yet."""
    assert count == len(found(LossExploding(), [1.0] * 60 + [20.0] * rows))


def test_an_explosion_in_the_first_rows_does_not_hide_itself() -> None:
    """2.3 at the first step, 50 from the third on: the start is what came first."""
    (finding,) = found(LossExploding(), [2.3, 9.0, *[50.0] * 40])
    assert 2 == finding.steps[0]


def test_new_classes_that_are_being_learned_are_no_explosion() -> None:
    """A network that starts converged is given a new task: a thousand times up, and then down."""
    losses = [*[0.003] * 60, *(0.2 + 3.5 * np.exp(-np.arange(100) / 30))]
    for rows in range(70, 160, 5):
        assert [] == found(LossExploding(), losses[:rows])


def test_five_rows_are_enough_where_it_is_a_hundredfold() -> None:
    """The fast lane for what blows up."""
    assert 1 == len(found(LossExploding(), [1.0] * 12 + [300.0] * 5))
    assert [] == found(LossExploding(), [1.0] * 12 + [300.0] * 4)


def test_growth_that_ends_in_nan_is_an_explosion() -> None:
    """2.3, 40, 9,000, inf: three rows are enough, and GS201 becomes its consequence."""
    (finding,) = found(LossExploding(), [2.3, 40.0, 9e3, INF, NAN])
    assert 1 == finding.steps[0]
    assert "GS201" in LossExploding.explains
    assert [] == found(LossExploding(), [2.3, 2.2, 2.1, NAN, NAN])


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_noise_is_no_explosion(sigma: float) -> None:
    """Lognormal losses, up to tails where single ones are a thousand times the median."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        assert [] == found(LossExploding(), list(np.exp(sigma * rng.normal(size=400))))


def test_single_outliers_are_no_explosion() -> None:
    """One batch in ten is a thousand times worse."""
    losses = np.ones(200)
    losses[::10] = 1000
    assert [] == found(LossExploding(), list(losses))


@pytest.mark.parametrize("losses", [[], [1.0], [0.0] * 50, [NAN] * 50, [1.0, NAN]])
def test_too_little_to_judge_an_explosion(losses: list[float]) -> None:
    """Empty, one row, all zero, all NaN."""
    assert [] == found(LossExploding(), losses)


# -- GS203 -------------------------------------------------------------------------------------------------------------


def test_a_rise_after_the_fall_is_found_with_its_advice() -> None:
    """Falls, then climbs: since when, from where to where, and a decade down."""
    level = np.concatenate([fallen(600), np.linspace(1, 1.8, 300)])
    (finding,) = found(LossRising(), noisy(level), lr=0.01)
    assert 600 <= finding.steps[0] <= 760
    (advice,) = finding.advice
    assert ("set-lr", 0.01, 0.001) == (advice.action, advice.values["from"], advice.values["to"])
    assert "lower lr to 0.001 (it is 0.01)" == advice.text


def test_a_jump_asks_what_changed_there() -> None:
    """From one step to the next: no learning rate does that."""
    level = np.concatenate([fallen(600), np.full(300, 1.8)])
    (finding,) = found(LossRising(), noisy(level))
    assert ", at once: something changed there" in finding.text
    assert [None, "set-lr"] == [advice.action for advice in finding.advice]
    assert finding.advice[1].text.startswith("if nothing did: lower lr to 0.01")
    assert 560 <= finding.steps[0] <= 640


def test_maximize_is_named_as_the_cause() -> None:
    """The optimizer was told to climb."""
    settings = Hyperparameters(0, 0, 0, {"maximize": True})
    rising = optimizer(losses=noisy(np.linspace(1, 4, 300)))
    (finding,) = LossRising().check(record(rising, facts=[settings]))
    assert "maximize=True" in finding.text and "maximize=True" in finding.advice[0].text


@pytest.mark.parametrize(("rise", "count"), [(0.10, 0), (0.25, 1)])
def test_the_margin_is_fifteen_percent(rise: float, count: int) -> None:
    """However significant, a small rise is none."""
    level = np.concatenate([np.ones(2000), np.full(1000, 1 + rise)])
    assert count == len(found(LossRising(), noisy(level, sigma=0.05)))


def test_a_rise_the_noise_explains_is_none() -> None:
    """Thirty percent up, in noise ten times the loss."""
    level = np.concatenate([np.ones(300), np.full(100, 1.3)])
    assert [] == found(LossRising(), noisy(level, sigma=3.0))


@pytest.mark.parametrize("rows", [0, 1, 100, 127])
def test_short_runs_are_not_judged(rows: int) -> None:
    """Below 128 rows nothing is said, however it rises."""
    assert [] == found(LossRising(), list(np.linspace(1, 3, rows)))


def test_all_nan_is_not_judged() -> None:
    """No number, no rise."""
    assert [] == found(LossRising(), [NAN] * 500)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_constant_loss_does_not_rise(level: float) -> None:
    """Not even where it is exactly 0, and every margin with it."""
    assert [] == found(LossRising(), [level] * 400)


def test_a_loss_near_zero_may_bounce() -> None:
    """Ten times its best, and still a hundredth of what had been gained."""
    level = np.concatenate([2 * np.exp(-np.arange(900) / 60) + 1e-3, np.full(300, 1e-2)])
    assert [] == found(LossRising(), noisy(level, sigma=0.05))


def test_warm_restarts_may_rise() -> None:
    """The lr jumps back up, and the loss with it, each cycle: only steps at a like lr are a standard."""
    lr = np.tile(0.05 * (1 + np.cos(np.pi * np.arange(400) / 400)) + 1e-4, 4)
    level = 1 + 6 * lr
    for rows in (500, 900, 1300, 1600):
        assert [] == found(LossRising(), noisy(level, 0.1)[:rows], lr=lr[:rows])


def test_a_warm_up_may_rise() -> None:
    """While the lr still grows nothing is known about it."""
    lr = np.linspace(1e-4, 1e-1, 600)
    assert [] == found(LossRising(), noisy(np.linspace(1, 2, 600), 0.1), lr=lr)


def test_a_new_curriculum_that_falls_again_may_rise() -> None:
    """After the jump the loss is on its way down again."""
    level = np.concatenate([fallen(600), 1 + 1.2 * np.exp(-np.arange(300) / 150)])
    assert [] == found(LossRising(), noisy(level, 0.1))


def test_a_rise_like_one_that_healed_is_none() -> None:
    """Per-epoch periodicity: after the first period it is known."""
    level = 1 + 0.3 * np.sin(2 * np.pi * np.arange(4000) / 400)
    assert [] == found(LossRising(), noisy(level, 0.1)[: 400 * 7 + 100])


def test_another_loss_has_its_own_scale() -> None:
    """Two phases of a run, a regression and then a classification: each course is judged by itself."""
    losses = [*noisy(0.1 * fallen(300)), *noisy(np.full(300, 6.0))]
    one = record(optimizer(losses=losses, courses_of_rows=[0] * 300 + [1] * 300))
    assert [] == [*LossExploding().check(one), *LossRising().check(one)]
    alike = record(optimizer(losses=losses))
    assert {"GS202"} == {f.code for f in LossExploding().check(alike)}


def test_two_runs_of_the_same_record_say_the_same() -> None:
    """Pure: the record is not changed by being judged."""
    losses = noisy(np.concatenate([fallen(600), np.linspace(1, 1.8, 300)]))
    one = record(optimizer(losses=losses))
    before = {name: column.copy() for name, column in one.streams[0].courses[0].columns.items()}
    assert list(LossRising().check(one)) == list(LossRising().check(one))
    assert all((before[name] == one.streams[0].courses[0][name]).all() for name in before)


@pytest.mark.parametrize(
    ("lr", "to"), [(0.01, 0.001), (0.1, 0.01), (3e-4, 3e-5), (0.05, 0.003), (0.02, 0.001), (1.0, 0.1), (0.03, 0.003)]
)
def test_a_decade_down_on_the_grid(lr: float, to: float) -> None:
    """0.05 / 10 = 0.005 lies between 0.003 and 0.01: the lower one."""
    assert to == grid_1_3_10(lr / 10)


# -- what is not judged ------------------------------------------------------------------------------------------------


def rising(number: int = 0) -> object:
    return optimizer(losses=noisy(np.linspace(1, 40, 400)), number=number)


def judged(one: Record) -> tuple[list[Finding], str]:
    for rule in (LossExploding(), LossRising()):
        assert rule.not_judged(one) == LossRising().not_judged(one)
    return [*LossExploding().check(one), *LossRising().check(one)], LossRising().not_judged(one)


def test_negative_losses_are_not_judged() -> None:
    """And the report says so."""
    findings, why = judged(record(optimizer(losses=[-1.0, *noisy(np.linspace(1, 40, 400))])))
    assert [] == findings
    assert "goes below zero" in why


@pytest.mark.parametrize("kind", ["moving-target", "policy", "changing-weights", "episodes", "environment"])
def test_losses_that_may_rise_are_not_judged(kind: str) -> None:
    """Reinforcement learning, teachers, target networks."""
    findings, why = judged(record(rising(), facts=[LossKind(3, 0, kind)]))  # type: ignore[arg-type]
    assert [] == findings
    assert "may rise" in why


def test_adversarial_losses_are_not_judged() -> None:
    """One optimizer's loss passes the other one's parameters, and they step by themselves."""
    findings, why = judged(record(rising(0), rising(1), facts=[SharedLoss(3, 1, 0)]))  # type: ignore[arg-type]
    assert [] == findings
    assert "SGD #0, SGD #1" in why


def test_optimizers_with_nothing_in_common_are_judged() -> None:
    """Two nets compared in one loop: each has its own loss."""
    findings, why = judged(record(rising(0), rising(1)))  # type: ignore[arg-type]
    assert {0, 1} == {f.stream for f in findings}
    assert "" == why


def test_who_takes_turns_with_an_actor_is_not_judged() -> None:
    """A critic's loss rises as its actor finds rewards."""
    actor = optimizer(losses=list(np.linspace(-1, 1, 400)), number=1)
    findings, why = judged(record(rising(0), actor))  # type: ignore[arg-type]
    assert [] == findings
    assert "takes turns" in why


def told(log: FindingLog, losses: list[float], row: int) -> list[tuple[str, str, tuple[int, int]]]:
    one = record(optimizer(losses=losses))
    log.update(diagnose(one, [LossRising()]), row, one)
    return [(f.code, f.severity, f.steps) for f in log.findings]


def test_a_rise_stays_until_the_loss_has_come_back() -> None:
    """Its evidence may grow weaker for a while: the finding stays a warning, and turns into info when it healed."""
    losses = noisy(np.concatenate([fallen(600), np.linspace(1, 1.8, 300), np.full(300, 1.5), fallen(900)]))
    log = FindingLog([LossRising()])
    ((code, severity, steps),) = told(log, losses[:900], 899)
    assert ("GS203", "warning") == (code, severity)
    ((_, severity, later),) = told(log, losses[:1200], 1199)
    assert ("warning", 1199) == (severity, later[1])
    ((_, severity, _),) = told(log, losses, 2099)
    assert "info" == severity


def test_a_rise_is_taken_back_where_the_loss_turns_out_to_be_of_another_kind() -> None:
    """It goes below zero later: it was not to be judged."""
    losses = noisy(np.concatenate([fallen(600), np.linspace(1, 1.8, 300)]))
    log = FindingLog([LossRising()])
    assert "warning" == told(log, losses, 899)[0][1]
    assert "info" == told(log, [*losses, -1.0], 900)[0][1]
