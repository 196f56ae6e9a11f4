"""GS303 to GS305 on hand-made records: found, quiet, and just on either side of each threshold."""
from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.diagnosis import FindingLog, diagnose
from gradscope.events import Site
from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import Fact
from gradscope.facts.learning_rate import Hyperparameters, Schedule
from gradscope.facts.loss import LossKind
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.record.table import array_columns
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import RULES
from gradscope.rules.learning_rate.schedule_decays_too_fast import ScheduleDecaysTooFast
from gradscope.rules.learning_rate.weight_decay_dominates import WeightDecayDominates
from gradscope.rules.learning_rate.weight_decay_on_norm_or_bias import WeightDecayOnNormOrBias
from gradscope.rules.way import way_to_nothing
from tests.records import STEP, optimizer, record

LINE = Site("train.py", 14, "main")
NAN = float("nan")


def schedule(
    scheduler: str = "StepLR", calls: int = 512, per_call: int = 1, explicit: bool = False, **settings: Any
) -> Schedule:
    """A scheduler that was stepped so often, and in between so many steps of the optimizer."""
    settings = settings or {"step_size": 30, "gamma": 0.1}
    return Schedule(calls, 0, scheduler, "scheduler", calls, (calls - 1) * per_call, explicit, settings, LINE)


def along(lr: np.ndarray, speed: float, start: float = 2.3, floor: float = 0.1, sigma: float = 0.05) -> np.ndarray:
    """Losses that fall exponentially along the way that these learning rates go: by e every 1/speed of it."""
    gone = np.concatenate([[0.0], np.cumsum(lr)[:-1]])
    noise = np.random.default_rng(0).gamma(1 / sigma**2, sigma**2, len(lr))
    return (floor + (start - floor) * np.exp(-speed * gone)) * noise


def found(
    rule: Rule, losses: Sequence[float] | np.ndarray, facts: Sequence[Fact] = (), status: str = "running", **more: Any
) -> list[Finding]:
    return list(rule.check(record(optimizer(losses=list(losses), **more), facts=facts, status=status)))


def step_lr(rows: int, step_size: int = 30, gamma: float = 0.1) -> np.ndarray:
    return np.asarray(0.1 * gamma ** (np.arange(rows) // step_size))


GS303 = ScheduleDecaysTooFast()

# -- GS303: a learning rate of nothing --------------------------------------------------------------------------------


def test_a_schedule_stepped_per_batch_is_found() -> None:
    """StepLR(30) stepped at each step: found at its line, with the cure."""
    lr = step_lr(400)
    (finding,) = found(GS303, along(lr, 0.3), [schedule()], lr=lr)
    assert ("warning", LINE, "nothing") == (finding.severity, finding.where, finding.evidence["kind"])
    assert finding.text.startswith("StepLR(step_size=30, gamma=0.1) brought lr from 0.1 to 1e-14: hardly anything was")
    assert "call scheduler.step() (line 14) once per epoch" in finding.advice[0].text
    assert "step_size=30" in finding.advice[0].text


@pytest.mark.parametrize(("rows", "count"), [(150, 0), (170, 1)])
def test_a_hundred_rows_at_nothing_are_asked_for(rows: int, count: int) -> None:
    """The loss was falling when lr came to nothing, at row 60: known at row 160 and not before."""
    lr = step_lr(rows)
    assert count == len(found(GS303, along(lr, 0.3), [schedule(calls=128)], lr=lr))


def test_noise_that_hides_the_fall_is_waited_out_where_the_calls_are_certain() -> None:
    """At batch size 1 nobody sees the fall: three times as long as it took is enough, for a scheduler per batch."""
    lr = step_lr(400)
    noisy = along(lr, 0.02, sigma=1.0)
    assert [] == found(GS303, noisy[:170], [schedule(calls=128)], lr=lr[:170])
    assert [1, 0, 0] == [
        len(found(GS303, noisy, facts, lr=lr))
        for facts in ([schedule(calls=256)], [schedule(calls=8, per_call=40)], [schedule(calls=256, explicit=True)])
    ]


def test_a_loss_that_had_converged_is_no_fault() -> None:
    """The schedule came to nothing after the loss had: nothing was lost, however long the run goes on."""
    lr = step_lr(1000)
    assert [] == found(GS303, along(lr, 3.0), [schedule()], lr=lr)


@pytest.mark.parametrize(("speed", "count"), [(0.5, 1), (1.8, 0)])
def test_how_much_was_still_to_come(speed: float, count: int) -> None:
    """Half of the way gone, and a fourth of the fall to come: found; a tenth: converged."""
    lr = step_lr(1000)
    assert count == len(found(GS303, along(lr, speed, sigma=0.01), [schedule()], lr=lr))


PROGRESS = np.arange(1000) / 1000
TO_THE_END = {
    "cosine": 0.5 * (1 + np.cos(np.pi * PROGRESS)),
    "linear": 1 - PROGRESS,
    "polynomial": (1 - PROGRESS) ** 4,
    "one cycle": np.where(PROGRESS < 0.3, PROGRESS / 0.3 + 0.04, 0.5 * (1 + np.cos(np.pi * (PROGRESS - 0.3) / 0.7))),
    "restarts": 0.5 * (1 + np.cos(np.pi * (np.arange(1000) % 100) / 100)),
    "steps": 0.1 ** (np.arange(1000) // 333),
    "exponential": np.exp(-9 * PROGRESS),
    "inverse of time": 1 / (1 + np.arange(1000.0)),
    "constant": np.ones(1000),
}


@pytest.mark.parametrize("name", TO_THE_END)
@pytest.mark.parametrize("speed", [0.003, 0.3])
@pytest.mark.parametrize("status", ["running", "finished"])
def test_schedules_that_end_with_the_run_are_silent(name: str, speed: float, status: str) -> None:
    """At whatever row they are looked at, and whether the loss still falls or has converged."""
    lr = 0.1 * TO_THE_END[name]
    losses = along(lr, speed)
    facts = [schedule("LambdaLR", calls=1000)]
    assert [] == [n for n in range(50, 1001, 50) if found(GS303, losses[:n], facts, status, lr=lr[:n])]


def test_the_end_of_the_run_needs_less_patience() -> None:
    """Where no more rows come, twice as long as it took is enough."""
    lr = 0.1 * 0.95 ** np.arange(300.0)
    noisy = along(lr, 0.02, sigma=1.0)
    fact = schedule("ExponentialLR", calls=256, gamma=0.95)
    assert ([], 1) == (found(GS303, noisy, [fact], lr=lr), len(found(GS303, noisy, [fact], "finished", lr=lr)))


@pytest.mark.parametrize("by_itself", ["ReduceLROnPlateau", "OneCycleLR"])
def test_schedulers_that_decide_by_themselves_are_silent(by_itself: str) -> None:
    """They know the metric, or the length of the run."""
    lr = step_lr(400)
    assert [] == found(GS303, along(lr, 0.3), [schedule(by_itself, calls=4, per_call=30)], lr=lr)


def test_a_schedule_by_hand_must_be_fast_and_its_loss_clear() -> None:
    """Without a scheduler, only what is done within 300 rows, while the loss was clearly falling."""
    quick, slow = step_lr(1000), step_lr(1600, step_size=200)
    (finding,) = found(GS303, along(quick, 0.3), lr=quick)
    assert (STEP, True) == (finding.where, finding.text.startswith("the schedule brought lr from 0.1 to"))
    assert [] == found(GS303, along(quick, 0.02, sigma=1.0), lr=quick)
    assert [] == found(GS303, along(slow, 0.05), lr=slow)


def test_a_scheduler_per_epoch_may_be_too_fast_too() -> None:
    """gamma=0.1 at each epoch of 40 steps: nothing is left after two epochs, and the loss was falling."""
    lr = step_lr(600, step_size=40)
    fact = schedule("ExponentialLR", calls=8, per_call=40, gamma=0.1)
    (finding,) = found(GS303, along(lr, 0.2, sigma=0.02), [fact], lr=lr)
    assert "let ExponentialLR decay more slowly" in finding.advice[0].text


def test_milestones_in_epochs_are_found_although_lr_is_not_nothing() -> None:
    """A hundredth of lr for the rest of the run, since step 18; with milestones at half of the run nothing is said."""
    rows = np.arange(800)
    early, late = (0.1 * 0.1 ** ((rows >= a).astype(float) + (rows >= b)) for a, b in ((12, 18), (400, 600)))
    fact = schedule("MultiStepLR", milestones=[12, 18], gamma=0.1)
    (finding,) = found(GS303, along(early, 0.1), [fact], lr=early)
    assert "milestones=[12, 18]" in finding.advice[0].text
    assert [] == found(GS303, along(late, 0.1), [fact], lr=late)


def test_a_loss_that_may_rise_is_not_judged() -> None:
    """A reinforcement-learning loss says nothing about what there was to learn."""
    lr = step_lr(400)
    assert [] == found(GS303, along(lr, 0.3), [schedule(), LossKind(0, 0, "policy")], lr=lr)


def test_a_group_that_goes_on_keeps_the_rule_silent() -> None:
    """One of two groups has come to nothing, the other has not."""
    lr = step_lr(400)
    one = optimizer(losses=list(along(lr, 0.3)), lr=lr)
    scalars = {**one.scalars, "lr": np.stack([lr, np.full(400, 1e-4)], axis=1)}
    two = dataclasses.replace(one, scalars=scalars)
    assert [] == list(GS303.check(record(two, facts=[schedule()])))
    assert 1 == len(list(GS303.check(record(one, facts=[schedule()]))))


def test_it_is_over_when_lr_comes_back() -> None:
    """Found while lr was nothing; as info once it has grown again."""
    lr = np.concatenate([step_lr(400), np.full(50, 0.1)])
    losses = along(lr, 0.3)
    log = FindingLog(RULES)
    for rows in (300, 400, 450):
        seen = record(optimizer(losses=list(losses[:rows]), lr=lr[:rows]), facts=[schedule()])
        log.update(diagnose(seen, [GS303]), rows, seen)
        (finding,) = log.findings
        assert ("info" if rows == 450 else "warning") == finding.severity


@pytest.mark.parametrize(("before", "rows", "count"), [(60, 1, 0), (60, 3, 0), (5, 5, 0), (4, 5, 1), (0, 1, 1)])
def test_a_spike_is_no_peak(before: int, rows: int, count: int) -> None:
    """lr 20 for a few steps in the middle of a schedule of 0.02; at the start of the run, it is where lr comes from."""
    lr = np.full(400, 0.02)
    lr[before : before + rows] = 20.0
    assert count == sum(way_to_nothing(s, 0.003, 0.5) is not None for s in record(optimizer(losses=lr, lr=lr)).streams)


def test_the_end_of_a_spike_is_not_told() -> None:
    """Three steps at lr 20 ruin a run at lr 0.02: hardly anything is learned after them, but not for a schedule."""
    lr = np.full(350, 0.02)
    lr[60:63] = 20.0
    noise = 0.2 * np.random.default_rng(0).standard_normal(350)
    losses = np.concatenate([np.linspace(3.3, 1.3, 60), [250, 1450, 33], np.full(287, 1.5)]) + noise
    assert [] == found(GS303, losses, [schedule("LambdaLR")], lr=lr)


def test_a_schedule_that_starts_at_its_peak_and_leaves_it_at_once_is_found() -> None:
    """StepLR(step_size=1, gamma=0.1), stepped per batch; with ten steps of warm-up before, too."""
    lr = np.concatenate([0.1 * (np.arange(10) + 1) / 11, 0.1 * 0.1 ** np.arange(390.0)])
    fact = schedule("StepLR", step_size=1, gamma=0.1)
    for rates in (lr[10:], lr):
        (finding,) = found(GS303, along(rates, 0.3, sigma=0.5), [fact], lr=rates)
        assert "brought lr from 0.1 to" in finding.text


def test_the_way_ends_where_nearly_all_of_it_is_gone() -> None:
    """30 steps at 1, 30 at 0.1, then 0.01: 99 % are gone with the second thirty."""
    lr = step_lr(400)
    (stream,) = record(optimizer(losses=list(along(lr, 0.3)), lr=lr)).streams
    way = way_to_nothing(stream, 0.003, 0.01)
    assert way is not None and way.nothing
    assert (60, 60, 340) == (way.at, way.took, way.since)


# -- GS303: certain cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "count"), [(99, 0), (100, 1)])
def test_a_warm_up_that_stays_at_zero(rows: int, count: int) -> None:
    """s // 1000 is 0 for a thousand steps; some schedules begin with one step, or one epoch, at 0."""
    fact = schedule("LambdaLR", calls=64, eta_min=0)
    results = found(GS303, [2.3] * rows, [fact], lr=0.0)
    assert count == len(results)
    if count:
        assert "LambdaLR() has held lr at 0 for 100 steps" in results[0].text
    assert [] == found(GS303, [2.3] * rows, [schedule("LambdaLR", calls=1, per_call=60)], lr=0.0)
    assert [] == found(GS303, [2.3] * rows, lr=0.0), "nobody schedules anything: lr 0 is meant"


def test_a_warm_up_that_has_left_zero_is_still_told() -> None:
    """The steps are wasted; with a single one at 0 there is nothing to tell."""
    lr = np.concatenate([np.zeros(250), np.full(300, 0.1)])
    (finding,) = found(GS303, [2.3] * 550, [schedule("LambdaLR")], lr=lr)
    assert (0, 249) == finding.steps
    assert "held lr at 0 for the first 250 steps" in finding.text
    lr[1:] = 0.1
    assert [] == found(GS303, [2.3] * 550, [schedule("LambdaLR")], lr=lr)


def test_a_scheduler_that_is_never_stepped_and_begins_at_zero() -> None:
    """Told at the end of the run: the scheduler has left its mark in the group, and lr is 0 in every row."""
    mark = Hyperparameters(0, 0, 0, {"initial_lr": 0.1})
    (finding,) = found(GS303, [2.3] * 30, [mark], "finished", lr=0.0)
    assert "call scheduler.step() after optimizer.step()" in finding.advice[0].text
    assert [] == found(GS303, [2.3] * 30, [mark], lr=0.0)


@pytest.mark.parametrize(("rows", "count"), [(22, 0), (24, 1)])
def test_a_schedule_below_zero(rows: int, count: int) -> None:
    """1 - epoch / 20, stepped per batch: below 0 from step 21 on, told after three of them."""
    lr = 0.1 * (1 - np.arange(rows) / 20)
    results = found(GS303, [2.3] * rows, [schedule("LambdaLR", calls=16)], lr=lr)
    assert count == len(results)
    assert all("took lr below 0 at step 21" in f.text for f in results)
    assert [] == found(GS303, [2.3] * rows, lr=-0.1), "below 0 from the start: it is meant to climb"


@pytest.mark.parametrize("value", [NAN, -np.inf, np.inf])
def test_an_lr_that_is_no_number_is_no_schedule_below_zero(value: float) -> None:
    """A division by 0 is what GS201 names."""
    lr = np.concatenate([np.full(60, 0.1), [NAN], np.full(60, value)])
    assert [] == found(GS303, [2.3] * len(lr), [schedule("LambdaLR", calls=64)], lr=lr)


@pytest.mark.parametrize(("calls", "count"), [(128, 0), (256, 1)])
def test_a_cosine_that_goes_up_and_down_is_info(calls: int, count: int) -> None:
    """T_max=10 epochs, stepped per batch: ten cycles and more are no plan. The run trains, so it is info."""
    lr = 0.05 * (1 + np.cos(np.pi * np.arange(300) / 10))
    results = found(GS303, np.linspace(2, 1, 300), [schedule("CosineAnnealingLR", calls=calls, T_max=10)], lr=lr)
    assert ["info"] * count == [f.severity for f in results]


def test_a_schedule_survives_the_run_folder() -> None:
    """As JSON and back."""
    fact = schedule("MultiStepLR", milestones=[3, 5], gamma=0.1)
    assert fact == from_json(to_json(fact))
    with pytest.raises(TypeError):
        from_json({**to_json(fact), "settings": 3})


# -- GS304 ------------------------------------------------------------------------------------------------------------

GS304 = WeightDecayDominates()


def decayed(
    rows: int = 300,
    losses: Sequence[float] | np.ndarray | None = None,
    end: float = 0.1,
    ratio: float = 5.0,
    decay: float = 0.5,
    kind: str = "SGD",
    lr: float = 0.1,
    measured: int | None = None,
    values: dict[str, Any] | None = None,
) -> Record:
    """Weights that shrink to `end` of their norm of 8 under a decay `ratio` times the gradient (or the update)."""
    one = optimizer(losses=list(np.full(rows, 2.3) if losses is None else losses), lr=lr)
    seen = np.arange(measured or rows)
    arrays = {n: np.zeros((len(seen), *s), d) for n, (d, s) in array_columns(2).items()}
    weights = 8 * end ** (seen / (rows - 1))
    arrays["row"], arrays["weight_norm"] = seen, np.stack([weights, weights / 10], axis=1)
    arrays["norm"][:] = (decay * weights / ratio)[:, None, None]
    arrays["update_norm"] = np.stack([lr * decay * weights / ratio] * 2, axis=1)
    two = dataclasses.replace(one, kind=kind, arrays=arrays)
    return record(two, facts=[Hyperparameters(0, 0, 0, {"weight_decay": decay, **(values or {})})])


def told(found: Record) -> list[Finding]:
    return list(GS304.check(found))


def test_a_decay_that_takes_the_weights_is_found() -> None:
    """Weights shrink tenfold, the loss stays at ln 10: the norms, the loss and a number to set."""
    (finding,) = told(decayed(ratio=4.0))
    assert finding.text == (
        "weight_decay=0.5 moves the weights, 4 times as much as the gradient: their norm went from 8 to 0.8, and the "
        "loss stays where it was (2.3 at the start, 2.3 now)"
    )
    (advice,) = finding.advice
    assert ("set-weight-decay", 0.001) == (advice.action, advice.values["to"]), "0.01 * 1 / 8, on the grid"
    assert "lower weight_decay to 0.001 (it is 0.5)" == advice.text


@pytest.mark.parametrize(
    "details",
    [
        {"end": 0.55},
        {"ratio": 0.75},
        {"rows": 59},
        {"decay": 5e-4},
        {"losses": np.linspace(2.3, 0.5, 300)},
        {"losses": np.linspace(2.3, 1.8, 300)},
        {"kind": "AdamW", "lr": 1e-3, "decay": 0.1, "ratio": 0.6},
        {"kind": "AdamW", "lr": 1e-3, "decay": 10.0, "ratio": 0.4},
        {"kind": "Adam", "lr": 1e-3, "decay": 0.01},
        {"kind": "MyOwn"},
    ],
    ids=lambda details: "-".join(details),
)
def test_what_is_not_yet_dominated_is_silent(details: dict[str, Any]) -> None:
    """Weights not halved, a gradient as strong, too early, a customary decay, a loss that falls, unknown optimizers."""
    assert [] == told(decayed(**details))


@pytest.mark.parametrize(
    "details",
    [
        {"end": 0.45},
        {"ratio": 0.85},
        {"rows": 60},
        {"losses": np.linspace(2.3, 2.2, 300)},
        {"kind": "AdamW", "lr": 1e-3, "decay": 10.0, "ratio": 0.6},
        {"kind": "Adam", "lr": 1e-3, "decay": 0.05},
        {"kind": "Adam", "lr": 1e-3, "decay": 10.0, "ratio": 0.6, "values": {"decoupled_weight_decay": True}},
        {"lr": 0.001, "values": {"momentum": 0.9}},
    ],
    ids=lambda details: "-".join(details),
)
def test_what_is_just_dominated_is_found(details: dict[str, Any]) -> None:
    """The other side of each threshold."""
    assert 1 == len(told(decayed(**details)))


def test_a_loss_that_comes_back_is_found() -> None:
    """It fell to 1, and is at 2 again; half of the way back is not enough."""
    fell = [*np.linspace(2.3, 1.0, 100), *np.linspace(1.0, 2.0, 60), *[2.0] * 140]
    (finding,) = told(decayed(losses=fell))
    assert "the loss comes back to where it was" in finding.text
    half = [*np.linspace(2.3, 0.5, 100), *np.linspace(0.5, 0.9, 60), *[0.9] * 140]
    assert [] == told(decayed(losses=half, end=0.3))


def test_a_loss_that_stands_still_while_the_weights_are_gone() -> None:
    """A regression that began above its chance level: what is left predicts the mean."""
    level = [*np.linspace(1.5, 0.4, 60), *[0.4] * 240]
    (finding,) = told(decayed(losses=level, end=0.05))
    assert "the loss no longer falls" in finding.text
    assert [] == told(decayed(losses=level, end=0.3)), "of halved weights, more is asked: 0.4 of the start"
    assert 1 == len(told(decayed(losses=np.array(level) + 0.4, end=0.3)))
    assert [] == told(decayed(losses=np.array(level) + 0.4, end=0.55))


def test_adamw_that_forgets_within_200_steps() -> None:
    """lr * weight_decay of 0.01: the norm need not halve, the loss stands still far above nothing."""
    level = [*np.linspace(2.3, 0.5, 100), *[0.5] * 300]
    forgets = {"kind": "AdamW", "lr": 1e-3, "ratio": 0.8, "rows": 400, "losses": level, "end": 0.8}
    assert 1 == len(told(decayed(decay=10.0, **forgets)))
    assert [] == told(decayed(decay=3.0, **forgets)), "0.003 a step: strong, and somebody's choice"


def test_norms_of_the_first_rows_are_followed() -> None:
    """Only the first 32 rows were measured: how the norm shrank there tells where it is by now."""
    assert 1 == len(told(decayed(rows=200, end=0.01, measured=32)))
    assert [] == told(decayed(rows=200, end=0.6, measured=32))


def test_decay_is_not_judged_where_the_loss_may_rise() -> None:
    """A critic's loss says nothing about its weights."""
    sick = decayed()
    sick.facts.add(LossKind(0, 0, "policy"))
    assert [] == told(sick)
    assert "ratios of probabilities" in GS304.not_judged(sick)


def test_the_consequences_are_folded() -> None:
    """A rising loss and the note about biases are no findings of their own."""
    sick = decayed(losses=[*np.linspace(2.3, 1.0, 100), *np.linspace(1.0, 2.1, 60), *[2.1] * 140])
    findings = diagnose(sick, RULES).findings
    assert {"GS304"} == {f.code for f in findings if f.caused_by is None}
    assert {"GS203", "GS301"} == {f.code for f in findings if f.caused_by == "GS304"}


# -- GS305 ------------------------------------------------------------------------------------------------------------

GS305 = WeightDecayOnNormOrBias()
NAMES, SHAPES = ("0.weight", "0.bias", "1.weight", "2.weight", "2.bias"), ((8, 4), (8,), (8,), (2, 8), (2,))


def with_decay(decay: float, kind: str = "AdamW", **values: Any) -> list[Finding]:
    one: OptimizerRecord = dataclasses.replace(optimizer(names=NAMES, shapes=SHAPES), kind=kind)
    return list(GS305.check(record(one, facts=[Hyperparameters(0, 0, 0, {"weight_decay": decay, **values})])))


@pytest.mark.parametrize(
    ("decay", "kind", "count"),
    [
        (0.01, "AdamW", 0),
        (0.049, "AdamW", 0),
        (0.05, "AdamW", 1),
        (5e-4, "SGD", 0),
        (0.05, "SGD", 1),
        (5e-4, "Adam", 0),
        (0.009, "Adam", 0),
        (0.01, "Adam", 1),
        (0.0, "Adam", 0),
    ],
)
def test_only_decays_that_matter_are_told(decay: float, kind: str, count: int) -> None:
    """Defaults and customary values are silent; what is told is info, once for an optimizer."""
    assert ["info"] * count == [f.severity for f in with_decay(decay, kind)]


def test_biases_and_norms_are_named_with_the_groups_to_paste() -> None:
    """The advice is code."""
    (finding,) = with_decay(0.1)
    assert ("0.bias", "1.weight", "2.bias") == finding.parameters
    assert "acts on 3 biases and normalisation weights too (0.bias, 1.weight, 2.bias)" in finding.text
    assert '"weight_decay": 0.0}]; optimizer = torch.optim.AdamW(groups, ..., ' in finding.advice[0].text


def test_adam_is_told_of_adamw() -> None:
    """Unless its decay is apart from the gradient already."""
    (finding,) = with_decay(0.1, "Adam")
    assert "torch.optim.AdamW(..., weight_decay=0.1)" == finding.advice[0].text
    (finding,) = with_decay(0.1, "Adam", decoupled_weight_decay=True)
    assert "biases" in finding.text


def test_groups_of_their_own_are_silent() -> None:
    """Biases apart, without decay: as it should be."""
    split = tuple(0 if len(shape) > 1 else 1 for shape in SHAPES)
    one = dataclasses.replace(optimizer(names=NAMES, shapes=SHAPES), kind="AdamW")
    parameters = tuple(dataclasses.replace(p, group=group) for p, group in zip(one.parameters, split))
    facts = [Hyperparameters(0, 0, group, {"weight_decay": decay}) for group, decay in ((0, 0.1), (1, 0.0))]
    assert [] == list(GS305.check(record(dataclasses.replace(one, parameters=parameters), facts=facts)))
    assert 1 == len(list(GS305.check(record(one, facts=facts))))


@pytest.mark.parametrize("rule", [GS303, GS304, GS305], ids=lambda rule: str(rule.code))
@pytest.mark.parametrize("losses", [[], [1.0], [NAN] * 300], ids=["none", "one", "nan"])
def test_little_or_nothing_is_quiet(rule: Rule, losses: list[float]) -> None:
    """No rows, one row, only NaN: no finding, no exception."""
    lr = step_lr(len(losses))
    facts = [schedule(), Hyperparameters(0, 0, 0, {"weight_decay": 1e-4})]
    assert [] == found(rule, losses, facts, lr=lr if len(losses) else 0.1)
    assert [] == [f for f in (told(decayed(rows=max(2, len(losses)), losses=losses)) if len(losses) > 1 else [])]
