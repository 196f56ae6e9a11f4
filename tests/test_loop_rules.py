"""GS106 and GS108 to GS110 on hand-made records: quiet, found, just below and just above each threshold."""
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gradscope.events import Point, Site
from gradscope.facts.loop import EarlySchedulerStep, EvalModeSteps, GraphAge
from gradscope.record.record import OptimizerRecord, Parameter, Record
from gradscope.record.table import array_columns
from gradscope.rules.catalogue import RULES, find_rule
from tests.records import BACKWARD, HEALTHY, STEP, optimizer, record


def codes(found: Record) -> list[tuple[str, str]]:
    return [(f.code, f.severity) for rule in RULES for f in rule.check(found)]


def only(code: str, found: Record):
    """The one finding of one rule."""
    (finding,) = find_rule(code).check(found)
    return finding


# -- GS106 ------------------------------------------------------------------------------------------------------------


def measured(
    rows: int = 20,
    update: Any = 0.0,
    gradient: Any = 1.0,
    weight: Any = 1.0,
    lr: Any = 0.1,
    dtype: str = "float32",
    kind: str = "MySGD",
) -> OptimizerRecord:
    """An optimizer whose every row was measured; numbers may be given per parameter, or per row as a column."""
    made = optimizer((HEALTHY,) * rows)
    arrays = {n: np.zeros((rows, *s), d) for n, (d, s) in array_columns(2).items()}
    arrays["row"] = np.arange(rows)
    arrays["norm"][:, Point.BEFORE_STEP] = gradient
    arrays["weight_norm"][:] = weight
    arrays["update_norm"][:] = update
    scalars = {**made.scalars, "lr": np.broadcast_to(np.asarray(lr, float), (rows, 1)).copy()}
    columns = tuple(Parameter(p.name, p.shape, p.group, dtype) for p in made.parameters)
    return dataclasses.replace(made, kind=kind, parameters=columns, arrays=arrays, scalars=scalars)


@pytest.mark.parametrize(
    "rows, status, expected",
    [(19, "running", False), (20, "running", True), (4, "finished", False), (5, "finished", True)],
)
def test_gs106_asks_for_20_steps_or_5_at_the_end(rows: int, status: str, expected: bool) -> None:
    """Nothing moves: silent before 20 measured steps; at the end of a short run 5 are enough."""
    assert codes(record(measured(rows), status=status)) == ([("GS106", "warning")] if expected else [])


def test_gs106_names_the_step_and_the_cure() -> None:
    """A hand-written optimizer that moves nothing: at the step, with the line to write instead."""
    finding = only("GS106", record(measured()))
    assert (finding.where, finding.steps, finding.parameters) == (STEP, (0, 19), ("layer.weight", "layer.bias"))
    assert finding.text == (
        "every parameter of the optimizer did not change in any of 20 steps with a gradient and lr 0.1: "
        "the step of MySGD writes into none of its parameters"
    )
    assert "p.sub_(lr * grad), not p = p - lr * grad" in finding.advice[0].text


def test_gs106_looks_for_a_hook_where_the_optimizer_is_torchs_own() -> None:
    """Torch's SGD does write in place: something puts the values back."""
    assert "puts the old values back" in only("GS106", record(measured(kind="SGD"))).text


@pytest.mark.parametrize(
    "details",
    [
        {"update": 0.1},
        {"update": [[0.1, 0.1]] + [[0.0, 0.0]] * 19},
        {"lr": 0.0},
        {"lr": np.nan},
        {"gradient": 0.0},
        {"gradient": np.nan},
        {"gradient": np.inf},
        {"update": np.nan},
        {"dtype": "bfloat16"},
        {"dtype": "float16"},
        {"dtype": ""},
        {"kind": "LBFGS"},
        {"weight": np.linspace(1, 1.1, 20)[:, None]},
        {"lr": np.array([[0.0]] * 5 + [[0.1]] * 15)},
    ],
    ids=lambda v: next(iter(v)),
)
def test_gs106_is_silent_where_there_is_a_reason(details: dict[str, Any]) -> None:
    """It moved once, lr 0, no gradient, not finite, not measured, low precision, moved by something else, too few."""
    assert codes(record(measured(**details))) == []


def test_gs106_leaves_updates_below_the_spacing_alone() -> None:
    """A converged parameter: lr * |g| just below and just above 100 times the spacing of the weights."""
    edge = 100 * np.finfo(np.float32).eps * 30 / 0.1
    assert codes(record(measured(gradient=0.9 * edge, weight=30.0))) == []
    assert codes(record(measured(gradient=1.1 * edge, weight=30.0))) == [("GS106", "warning")]
    assert codes(record(measured(gradient=1e6, weight=30.0, lr=1e-6))) == [], "an adaptive step would be lost"


def test_gs106_waits_longer_where_other_parameters_move() -> None:
    """One of two stands still: silent before 100 steps (a part may be frozen for a while), then a warning for it."""
    some = [0.0, 0.1]
    assert codes(record(measured(99, update=some))) == []
    finding = only("GS106", record(measured(100, update=some)))
    assert finding.parameters == ("layer.weight",)
    assert "layer.weight did not change in any of 100 steps" in finding.text
    assert only("GS106", record(measured(5, update=some), status="finished")).parameters == ("layer.weight",)


@pytest.mark.parametrize("weight, update", [([0.0, 1.0], [0.0, 0.1]), ([1.0, 1e-3], [0.0, 1e-6])], ids=str)
def test_gs106_measures_the_step_by_the_parameters_that_move(weight: list[float], update: list[float]) -> None:
    """Shrunk to zero, or the others' steps are so small that this parameter's own would be lost: silent."""
    assert codes(record(measured(100, weight=weight, update=update))) == []


# -- GS108 ------------------------------------------------------------------------------------------------------------

SCHEDULE = Site("train.py", 8, "main")


def early(steps: int = 1, lr: float = 0.2) -> EarlySchedulerStep:
    return EarlySchedulerStep(1, 0, "sched", lr, steps, SCHEDULE)


def test_gs108_names_both_lines_and_what_was_skipped() -> None:
    """At the scheduler's line; the optimizer's is in the advice, per batch or per epoch as the loop has it."""
    finding = only("GS108", record(optimizer(), facts=[early()]))
    assert (finding.severity, finding.where, finding.steps) == ("warning", SCHEDULE, (0, 7))
    assert finding.text == (
        "sched.step() ran before the first optimizer.step(): the schedule's first value, lr 0.2, was never used; "
        "training began with 0.1"
    )
    assert finding.advice[0].text == "move sched.step() behind optimizer.step() (line 13)"
    late = only("GS108", record(optimizer(), facts=[early(2)])).advice[0].text
    assert late.startswith("move sched.step() to the end of the epoch, behind the loop that calls optimizer.step()")


def test_gs108_where_the_first_value_is_still_the_same() -> None:
    """A schedule that holds lr for some epochs: all its changes come too early."""
    assert "one call too early" in only("GS108", record(optimizer(), facts=[early(lr=0.1)])).text


def test_gs108_is_silent_without_the_optimizers_rows() -> None:
    """A fact about an optimizer that the record does not hold."""
    assert codes(record(facts=[early()])) == []


# -- GS109 ------------------------------------------------------------------------------------------------------------

GROWS = Site("train.py", 15, "main")


def kept(row: int = 19, oldest: int = 0, alive: int = 20, chained: bool = True, **details: Any) -> GraphAge:
    values = {"variable": "total", "grows": GROWS, "healed": "total += loss.item()"}
    return GraphAge(row, alive, oldest, chained, BACKWARD, **{**values, **details})


@pytest.mark.parametrize(
    "fact, expected",
    [
        (kept(), True),
        (kept(alive=19), False),
        (kept(row=19, oldest=1), False),
        (kept(row=400, alive=256, chained=False), False),
        (kept(row=400, alive=257, chained=False), True),
        (kept(row=400, alive=400, chained=False, variable=""), False),
    ],
)
def test_gs109_weighs_the_number_and_the_rows(fact: GraphAge, expected: bool) -> None:
    """A chain of 20 graphs over 20 rows, or a list of more than 256; and a variable that holds them."""
    assert codes(record(optimizer(), facts=[fact])) == ([("GS109", "warning")] if expected else [])


def test_gs109_points_at_the_line_that_adds() -> None:
    """The line, what holds them, since when, and the user's own statement made harmless; revised as it grows."""
    finding = only("GS109", record(optimizer(), facts=[kept(), kept(row=39, alive=40)]))
    assert (finding.where, finding.steps) == (GROWS, (0, 39))
    assert finding.text == "total chains together the graphs of 40 losses, all since step 0: they stay in memory"
    assert finding.advice[0].text == "write total += loss.item()"


def test_gs109_falls_back_to_the_backward() -> None:
    """The variable is known, its line is not: the backward's line, and advice in general words."""
    finding = only("GS109", record(optimizer(), facts=[kept(grows=None, healed="")]))
    assert finding.where == BACKWARD
    assert "keep numbers in total" in finding.advice[0].text


# -- GS110 ------------------------------------------------------------------------------------------------------------


def evaluating(steps: int, total: int | None = None, since: int = 0, trained: bool = False) -> EvalModeSteps:
    total = steps if total is None else total
    return EvalModeSteps(since + steps - 1, 0, "net", "2 x Dropout", steps, since, total, trained)


@pytest.mark.parametrize(
    "fact, status, expected",
    [
        (evaluating(9), "running", False),
        (evaluating(10), "running", True),
        (evaluating(4), "finished", False),
        (evaluating(5), "finished", True),
        (evaluating(5), "running", False),
        (evaluating(9, 30, 21, True), "finished", False),
        (evaluating(10, 30, 20, True), "finished", True),
    ],
)
def test_gs110_asks_for_10_steps_or_for_all_of_a_short_run(fact: EvalModeSteps, status: str, expected: bool) -> None:
    """10 in a row at any time; 5 where they are the whole run."""
    found = record(optimizer(), facts=[fact], status=status)
    assert codes(found) == ([("GS110", "warning")] if expected else [])


def test_gs110_says_which_layers_since_when_and_why() -> None:
    """All steps; or those since a validation, with the line of the step and the call to make."""
    finding = only("GS110", record(optimizer(), facts=[evaluating(10)]))
    assert finding.text == "net was in eval mode at all 10 steps: 2 x Dropout worked as in validation"
    assert finding.advice[0].text == "call net.train() before the loop, and after each validation"
    late = only("GS110", record(optimizer(), facts=[evaluating(40, 60, 20, True), evaluating(10, 99, 89, True)]))
    assert (late.where, late.steps) == (STEP, (20, 98))
    assert late.text == (
        "net was in eval mode at 50 steps since step 20: 2 x Dropout worked as in validation; before, it was in train "
        "mode: probably the net.eval() of a validation was never undone"
    )


def test_gs110_is_silent_on_lbfgs_and_on_optimizers_unknown() -> None:
    """A line search needs a loss without dropout; a fact may be about an optimizer that the record does not hold."""
    assert codes(record(facts=[evaluating(99)])) == []
    assert codes(record(dataclasses.replace(optimizer(), kind="LBFGS"), facts=[evaluating(99)])) == []
