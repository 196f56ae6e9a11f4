"""Each rule on hand-made records: quiet, found, just below and just above its threshold; and what all rules share."""
from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.errors import UsageError
from gradscope.facts.loop import BackwardFailed, DisconnectedLoss, MissingStep, NoGradientReason, UnownedParameter
from gradscope.record.record import Record, Wiring
from gradscope.rules.base import HEADINGS, Rule
from gradscope.rules.catalogue import RULES, find_rule, select
from tests.records import BACKWARD, HEALTHY, STEP, ZERO_GRAD, optimizer, record

NOTHING = Wiring.ALL_MISSING | Wiring.STATISTICS


def codes(found: Record) -> list[tuple[str, str]]:
    return [(f.code, f.severity) for rule in RULES for f in rule.check(found)]


def only(code: str, found: Record):
    """The one finding of one rule."""
    (finding,) = find_rule(code).check(found)
    return finding


# -- what all rules share ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_a_rule_keeps_the_contract(rule: Rule) -> None:
    """Its code is well formed, its file is found from its name, its page has every heading, fields have defaults."""
    assert re.fullmatch(r"GS\d{3}", rule.code)
    assert rule.severity in ("error", "warning", "info")
    file = Path(gradscope.__file__).parent / "rules"
    assert list(file.glob(f"*/{rule.name.replace('-', '_')}.py")), "one rule, one file, named after the rule"
    assert [h for h in HEADINGS if f"{h}\n" in rule.page()] == list(HEADINGS)
    assert "{thresholds}" not in rule.page()
    assert type(rule)() == rule
    assert all(re.fullmatch(r"GS\d{3}", code) for code in rule.explains)


def test_codes_and_names_are_unique() -> None:
    """A code or a name means one rule, for ever."""
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
@pytest.mark.parametrize(
    "found",
    [
        record(),
        record(optimizer()),
        record(optimizer((HEALTHY,)), status="finished"),
        record(optimizer((HEALTHY,) * 64, grad_norm=[np.nan] * 64), status="finished"),
        record(optimizer(names=(), shapes=(), counters={"steps": np.zeros(0, np.int64)}), status="finished"),
    ],
    ids=["empty", "healthy", "one row", "all NaN", "no parameters"],
)
def test_a_rule_is_silent_on_nothing_and_on_health(rule: Rule, found: Record) -> None:
    """No rows, one row, only NaN, no parameters: no finding, no exception."""
    assert list(rule.check(found)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_a_rule_is_pure(rule: Rule) -> None:
    """The same record gives the same findings, and is not changed."""
    sick = record(
        optimizer(
            (HEALTHY, HEALTHY | Wiring.OLD_INSIDE, HEALTHY | Wiring.CLEARED, HEALTHY | Wiring.CLEARED),
            counters={"old": [2, 0], "old_first": [1, -1], "old_last": [3, -1], "missing": [0, 4], "reached": [4, 0]},
        ),
        status="finished",
    )
    before = copy.deepcopy(sick.optimizers[0])
    assert list(rule.check(sick)) == list(rule.check(sick))
    for name in before.scalars:
        np.testing.assert_array_equal(before.scalars[name], sick.optimizers[0].scalars[name])
    for name in before.counters:
        np.testing.assert_array_equal(before.counters[name], sick.optimizers[0].counters[name])


def test_rules_are_found_by_code_and_name_and_unknown_ones_suggest_the_nearest() -> None:
    """`explain`, `--select` and suppressions all go through this."""
    assert find_rule("gs101") is find_rule("missing-zero-grad")
    with pytest.raises(UsageError, match="did you mean GS101"):
        find_rule("missing-zerograd")
    assert {r.code for r in select(("GS1",), ("GS102",))} == {r.code for r in RULES if r.code[:3] == "GS1"} - {"GS102"}
    with pytest.raises(UsageError):
        select((), ("GS999",))


# -- GS101 ------------------------------------------------------------------------------------------------------------


def test_gs101_names_the_line_the_growth_and_the_cure() -> None:
    """Old gradients at every step from the second on: an error at the backward call, with the norm's growth."""
    old = {"old": [7, 7], "old_first": [1, 1], "old_last": [7, 7]}
    sick = record(optimizer((HEALTHY, *(HEALTHY | Wiring.OLD_INSIDE,) * 7), counters=old, grad_norm=range(1, 9)))
    finding = only("GS101", sick)
    assert (finding.severity, finding.steps, finding.where) == ("error", (1, 7), BACKWARD)
    assert finding.text == (
        "every step since 1 used gradients that still contain all the earlier ones: |g| grew 1 -> 8 in 7 steps"
    )
    assert finding.label == "adds to gradients that step 0 has already used"
    assert finding.advice[0].action == "insert-zero-grad"
    assert "before line 12" in finding.advice[0].text


@pytest.mark.parametrize(
    "measured, growth",
    [
        (range(12), "|g| grew 3 -> 60 in 7 steps"),  # from step 4 on: the newest sound one
        ((0, 1, 5, 8, 11), "|g| grew 10 -> 60 in 6 steps"),  # step 5 is nearer to it than step 1
        ((0, 1, 2, 8, 11), "|g| grew 3 -> 60 in 9 steps"),
        ((0, 1, 2, 6, 11), "|g| grew 3 -> 60 in 9 steps"),  # of two as near the earlier
        ((0, 1), ""),  # nothing of it was measured
        ((11,), ""),
        ((), ""),
    ],
)
def test_gs101_counts_the_growth_from_its_own_beginning(measured: Sequence[int], growth: str) -> None:
    """zero_grad is left out from step 5 on: what the norm did before is no part of it."""
    norms = [0.5, 2, 3, 3, 3, 10, 15, 20, 30, 40, 50, 60]
    seen = [norm if row in measured else math.nan for row, norm in enumerate(norms)]
    old = {"old": [7, 7], "old_first": [5, 5], "old_last": [11, 11]}
    wirings = (HEALTHY,) * 5 + (HEALTHY | Wiring.OLD_INSIDE,) * 7
    finding = only("GS101", record(optimizer(wirings, counters=old, grad_norm=seen)))
    text = "every step since 5 used gradients that still contain all the earlier ones"
    assert finding.text == (f"{text}: {growth}" if growth else text)
    assert ("grad_norm_first" in finding.evidence) is bool(growth)


def test_gs101_counts_from_its_optimizers_own_step() -> None:
    """One that steps rarely (a generator): from its step before, however far away that is."""
    old = {"old": [2, 2], "old_first": [10, 10], "old_last": [15, 15]}
    sick = optimizer((HEALTHY,) * 2 + (HEALTHY | Wiring.OLD_INSIDE,) * 2, counters=old, grad_norm=(9, 1, 2, 4))
    scarce = dataclasses.replace(sick, scalars={**sick.scalars, "row": np.array([0, 5, 10, 15])})
    assert "|g| grew 1 -> 4 in 10 steps" in only("GS101", record(scarce)).text


def test_gs101_tells_which_parameters_where_not_all_are_old() -> None:
    """zero_grad on a part of the model only: the others are named."""
    old = {"old": [0, 1], "old_first": [-1, 3], "old_last": [-1, 3]}
    sick = record(optimizer((HEALTHY,) * 3 + (HEALTHY | Wiring.OLD_INSIDE,) + (HEALTHY,) * 4, counters=old))
    finding = only("GS101", sick)
    assert finding.parameters == ("layer.bias",)
    assert "step 3 used gradients that still contain all the earlier ones in layer.bias" == finding.text


# -- GS102 ------------------------------------------------------------------------------------------------------------

NEVER = {"missing": [0, 20], "reached": [20, 0]}


def test_gs102_waits_for_20_rows_or_the_end() -> None:
    """19 rows without a gradient: silent; 20: warning; 19 and the run is over: warning."""
    some = HEALTHY | Wiring.SOME_MISSING
    early = {"missing": [0, 19], "reached": [19, 0]}
    assert codes(record(optimizer((some,) * 19, counters=early))) == []
    assert codes(record(optimizer((some,) * 20, counters=NEVER))) == [("GS102", "warning")]
    assert codes(record(optimizer((some,) * 19, counters=early), status="finished")) == [("GS102", "warning")]


def test_gs102_is_silent_once_a_gradient_came() -> None:
    """A parameter that got a gradient once is an expert or a branch, not a mistake."""
    some = HEALTHY | Wiring.SOME_MISSING
    assert codes(record(optimizer((some,) * 20, counters={"missing": [0, 19], "reached": [20, 1]}))) == []


@pytest.mark.parametrize(
    "reason, words",
    [
        ("not-used", "never uses it"),
        ("detached", "detach(), .data or a copy between encoder and head"),
        ("no-grad", "no_grad() between encoder and head"),
        ("integer-cast", "whole numbers"),
        ("not-in-loss", "no part in the loss"),
    ],
)
def test_gs102_says_why(reason: str, words: str) -> None:
    """The probe's reason is in the message and in the evidence."""
    fact = NoGradientReason(0, 0, 1, reason, before="head", after="encoder")
    sick = record(optimizer((HEALTHY | Wiring.SOME_MISSING,) * 20, counters=NEVER), facts=[fact])
    finding = only("GS102", sick)
    assert finding.evidence["reason"] == reason
    assert words in finding.text
    assert finding.where == STEP


def test_gs102_is_silent_on_what_something_else_moves() -> None:
    """A target network inside the model, a codebook kept by a moving average: no gradient, and no fault."""
    fact = NoGradientReason(0, 0, 1, "not-used", moved=True)
    assert codes(record(optimizer((HEALTHY | Wiring.SOME_MISSING,) * 20, counters=NEVER), facts=[fact])) == []


def test_gs102_is_info_for_an_expert_that_nobody_asked() -> None:
    """One of several like siblings, unused in all batches: worth knowing, no fault."""
    fact = NoGradientReason(0, 0, 1, "not-used", alternative=True)
    sick = record(optimizer((HEALTHY | Wiring.SOME_MISSING,) * 20, counters=NEVER), facts=[fact])
    assert codes(sick) == [("GS102", "info")]


def test_gs102_without_any_backward() -> None:
    """Steps after a forward, without a backward: an error after 3, not after 2 (some loops prime their optimizer).

    Without a forward it is a schedule being plotted.
    """
    forgotten = NoGradientReason(0, 0, -1, "no-backward")
    none = NOTHING | Wiring.NO_BACKWARD
    for rows, expected in ((2, []), (3, [("GS102", "error")])):
        counters = {"missing": [rows] * 2, "reached": [0, 0]}
        assert codes(record(optimizer((none,) * rows, counters=counters), facts=[forgotten])) == expected
        assert codes(record(optimizer((none,) * rows, counters=counters))) == []


# -- GS103 ------------------------------------------------------------------------------------------------------------


def unowned(row: int, **details: object) -> UnownedParameter:
    values = {"name": "model.extra", "shape": (7,), "place": "registered", "upstream": False, "untouched": False}
    return UnownedParameter(row, **{**values, **details})


def test_gs103_asks_for_a_second_sighting() -> None:
    """Seen in one row: silent (the optimizer may be on its way); seen in two: warning."""
    assert codes(record(optimizer(), facts=[unowned(0)])) == []
    assert codes(record(optimizer(), facts=[unowned(0), unowned(1)])) == [("GS103", "warning")]


@pytest.mark.parametrize(
    "details, expected",
    [
        ({"place": "hidden"}, "warning"),
        ({"place": "hidden", "aside": True}, "info"),
        ({"shape": (900,)}, "info"),
        ({"shape": (900,), "untouched": True}, "warning"),
        ({"moved": True}, None),
        ({"owned_since": 1}, None),
        ({"upstream": True}, "info"),
        ({"upstream": True, "untouched": True}, "warning"),
        ({"upstream": True, "untouched": True, "aside": True}, "info"),
        ({"place": "elsewhere"}, "info"),
        ({"place": "apart"}, "info"),
        ({"place": "apart", "untouched": True}, "warning"),
        ({"place": "apart", "untouched": True, "aside": True}, "info"),
    ],
    ids=lambda v: str(v),
)
def test_gs103_weighs_what_kind_of_parameter_it_is(details: dict[str, object], expected: str | None) -> None:
    """Plain lists and forgotten groups warn; a loaded backbone is info; what is trained otherwise is silent."""
    sick = record(optimizer((HEALTHY,) * 20), facts=[unowned(0, **details), unowned(1, **details)])
    assert codes(sick) == ([("GS103", expected)] if expected else [])


def test_gs103_finds_a_stale_optimizer_at_once_and_instead_of_gs102_and_gs107() -> None:
    """All parameters unreached, others of the same shapes reached: the optimizer holds an old copy. One alarm."""
    facts = [unowned(0, shape=(3, 2), name="layer.weight"), unowned(0, shape=(3,), name="layer.bias")]
    facts.append(DisconnectedLoss(0, "unknown", "", "", True, BACKWARD))
    counters = {"missing": [1, 1], "reached": [0, 0]}
    sick = record(optimizer((NOTHING | Wiring.UNREACHED,), counters=counters), facts=facts)
    assert codes(sick) == [("GS103", "warning")]
    assert only("GS103", sick).evidence["kind"] == "stale"


# -- GS104 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hits, ended, expected",
    [
        ([0, 1, 0, 1, 0], True, False),
        ([0, 1, 1, 0], False, True),
        ([1], False, False),
        ([1], True, True),
        ([1, 0], True, False),
        ([0, 1, 1, 0, 0, 0], True, False),
    ],
)
def test_gs104_asks_for_two_in_a_row_or_the_only_step(hits: list[int], ended: bool, expected: bool) -> None:
    """One cleared step is a guard; two running are a mistake."""
    wiring = [HEALTHY | (NOTHING | Wiring.CLEARED if hit else 0) for hit in hits]
    found = record(optimizer(wiring), status="finished" if ended else "running")
    assert codes(found) == ([("GS104", "error")] if expected else [])


def test_gs104_points_at_the_clear() -> None:
    """The line to move is the zero_grad call."""
    assert only("GS104", record(optimizer((NOTHING | Wiring.CLEARED,) * 2))).where == ZERO_GRAD


# -- GS105 ------------------------------------------------------------------------------------------------------------


def waiting(**details: object) -> MissingStep:
    values = {
        "optimizer": 0, "backwards": 101, "longest_gap": 0, "steps": 0, "clears": 101, "bystander": False,
        "moved": False, "ended": False, "evaluating": False, "site": BACKWARD,
    }  # fmt: skip
    return MissingStep(0, **{**values, **details})


@pytest.mark.parametrize(
    "details, expected",
    [
        ({}, True),
        ({"moved": True}, False),
        ({"backwards": 99}, False),
        ({"backwards": 5, "clears": 5, "ended": True}, True),
        ({"backwards": 4, "clears": 4, "ended": True}, False),
        ({"evaluating": True}, False),
        ({"bystander": True}, True),
        ({"bystander": True, "clears": 10}, False),
    ],
    ids=lambda v: str(v),
)
def test_gs105_weighs_the_wait(details: dict[str, object], expected: bool) -> None:
    """Enough backwards, values that never change, and somebody who cares for the optimizer."""
    assert codes(record(facts=[waiting(**details)])) == ([("GS105", "error")] if expected else [])


# -- GS107 ------------------------------------------------------------------------------------------------------------


def test_gs107_at_the_first_step() -> None:
    """A backward that reached nothing, then a step with nothing: an error at once, at the backward, with the cause."""
    fact = DisconnectedLoss(0, "made-by-hand", "", "", False, BACKWARD)
    sick = optimizer((NOTHING | Wiring.UNREACHED,), counters={"missing": [1, 1], "reached": [0, 0]})
    finding = only("GS107", record(sick, facts=[fact]))
    assert (finding.severity, finding.where, finding.evidence["cause"]) == ("error", BACKWARD, "made-by-hand")
    assert codes(record(sick, facts=[fact])) == [("GS107", "error")]


def test_gs107_is_silent_where_another_loss_reaches_the_optimizer() -> None:
    """A backward for the input's gradient reaches no parameter: no fault."""
    fact = DisconnectedLoss(0, "unknown", "", "", False, BACKWARD)
    assert codes(record(optimizer(), facts=[fact])) == []


@pytest.mark.parametrize("kind, cause", [("no-graph", "no-grad"), ("freed-graph", "same-loss")])
def test_gs107_explains_a_death(kind: str, cause: str) -> None:
    """The script died of torch's error: the finding says what was behind it, even without a single step."""
    fact = BackwardFailed(0, kind, cause, "", "", BACKWARD)
    assert codes(record(facts=[fact], status="crashed")) == [("GS107", "error")]
    assert codes(record(facts=[fact], status="finished")) == [], "the script caught it: its own business"
    later = BackwardFailed(0, kind, cause, "", "", BACKWARD, backward=-1)
    assert codes(record(facts=[later], status="crashed")) == [], "other backwards followed: it died of something else"


def test_thresholds_are_fields() -> None:
    """Thresholds can be changed by making the rule anew, and show on its page."""
    rule = type(find_rule("GS104"))(consecutive=3)
    assert list(rule.check(record(optimizer((NOTHING | Wiring.CLEARED,) * 2)))) == []
    assert "consecutive = 2" in find_rule("GS104").page()
    assert dataclasses.is_dataclass(rule)
