"""Folding consequences under causes, the cadence of the rules, and findings as they are kept."""
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar, Iterator

from hypothesis import given
from hypothesis import strategies as st

from gradscope.diagnosis import Cadence, Diagnosis, FindingLog, diagnose, fold
from gradscope.events import Site
from gradscope.findings import Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule
from tests.records import optimizer, record


def rule(code: str, *explains: str) -> Rule:
    made = type(code, (Rule,), {"code": code, "name": code, "severity": "error", "explains": explains, "message": "m"})
    return made()


CHAIN = (rule("GS101", "GS402"), rule("GS402", "GS203"), rule("GS203"), rule("GS104"))


def finding(code: str, first: int = 0, stream: int = 0, severity: str = "error", **more: object) -> Finding:
    return Finding(code, code.lower(), severity, "m", (first, 99), stream=stream, **more)


def told(findings: tuple[Finding, ...]) -> list[tuple[str, str | None]]:
    return [(f.code, f.caused_by) for f in findings]


def test_consequences_are_folded_under_the_first_cause() -> None:
    """A chain of causes ends in one alarm; the consequences follow it in time."""
    found = fold([finding("GS203", 41), finding("GS402", 12), finding("GS101", 1)], CHAIN)
    assert told(found) == [("GS101", None), ("GS402", "GS101"), ("GS203", "GS101")]


def test_a_cause_must_come_first_and_in_the_same_stream() -> None:
    """What began earlier, or in another stream, has another cause."""
    assert told(fold([finding("GS101", 10), finding("GS402", 5)], CHAIN)) == [("GS402", None), ("GS101", None)]
    assert told(fold([finding("GS101", 1), finding("GS402", 5, stream=1)], CHAIN))[1] == ("GS402", None)


def test_an_info_causes_no_error() -> None:
    """What is supported only weakly does not swallow an alarm."""
    assert told(fold([finding("GS101", 1, severity="info"), finding("GS402", 5)], CHAIN)) == [
        ("GS402", None), ("GS101", None),
    ]  # fmt: skip


def test_severity_then_time_orders_the_causes() -> None:
    """The first finding is the one to fix."""
    found = fold([finding("GS203", 0, severity="warning"), finding("GS104", 9), finding("GS101", 9)], CHAIN)
    assert [f.code for f in found] == ["GS101", "GS104", "GS203"]


CIRCLE = (rule("GS201", "GS401"), rule("GS202", "GS201"), rule("GS401", "GS402"), rule("GS402", "GS202", "GS401"))
CODES = st.sampled_from([rule.code for rule in CIRCLE])


def test_findings_that_explain_each_other_are_not_lost() -> None:
    """They began together: the one that explains the other directly is the cause."""
    found = fold([finding("GS202", 5), finding("GS402", 5), finding("GS201", 7)], CIRCLE)
    assert [("GS402", None), ("GS202", "GS402"), ("GS201", "GS402")] == told(found)


@given(st.lists(st.tuples(CODES, st.integers(0, 2), st.integers(0, 1)), unique_by=lambda f: (f[0], f[2]), max_size=8))
def test_folding_loses_none(several: list[tuple[str, int, int]]) -> None:
    """Whatever explains what: each comes back once, and where there is one, there is a cause."""
    given = [finding(code, first, stream) for code, first, stream in several]
    found = fold(given, CIRCLE)
    assert sorted((f.code, f.stream) for f in given) == sorted((f.code, f.stream) for f in found)
    for stream in {f.stream for f in found}:
        roots = {f.code for f in found if f.stream == stream and f.caused_by is None}
        assert roots
        assert {f.caused_by for f in found if f.stream == stream} <= roots | {None}


@given(st.permutations([("GS101", 1), ("GS402", 12), ("GS203", 41), ("GS104", 3)]))
def test_the_order_of_detection_does_not_matter(order: list[tuple[str, int]]) -> None:
    """A cause that shows later than its symptom takes it under itself all the same."""
    found = fold([finding(code, first) for code, first in order], CHAIN)
    assert told(found) == [("GS101", None), ("GS402", "GS101"), ("GS203", "GS101"), ("GS104", None)]


def test_the_cadence_is_a_function_of_the_rows() -> None:
    """Every row up to 32, then each time their number has grown by 5 %, beyond 256 by 10 %; a trigger counts once."""
    cadence = Cadence()
    due = [rows for rows in range(1, 10_001) if cadence.due(rows)]
    assert due[:32] == list(range(1, 33))
    assert all(1 <= b - a <= max(1, (0.05 if a < 256 else 0.1) * b) for a, b in zip(due, due[1:]))
    assert len(due) < 300
    cadence = Cadence()
    for rows in range(1, 100):
        cadence.due(rows)
    at = next(rows for rows in range(100, 200) if not cadence.due(rows))
    assert cadence.due(at, {"OLD_INSIDE:0"})
    assert not cadence.due(at, {"OLD_INSIDE:0"})


class _Lasting(Rule):
    code: ClassVar[str] = "GS203"
    name, severity, message = "lasting", "error", "m"

    def over(self, finding: Finding, record: Record) -> bool:
        return False


class _Broken(Rule):
    code: ClassVar[str] = "GS999"
    name, severity, message = "broken", "error", "m"

    def check(self, record: Record) -> Iterator[Finding]:
        raise ZeroDivisionError("oops")
        yield


def test_a_rule_that_raises_is_skipped_and_said() -> None:
    """One broken rule does not silence the others, nor pass in silence."""
    diagnosis = diagnose(record(optimizer()), (_Broken(),))
    assert diagnosis.findings == ()
    assert "ZeroDivisionError: oops" in diagnosis.skipped["GS999"]


def test_a_blind_need_skips_the_rule() -> None:
    """What could not be seen is said, instead of looking healthy."""
    needy = type("Needy", (_Broken,), {"needs": ("forward",)})()
    blind = record(optimizer())
    blind.meta.blind["forward"] = "the model is compiled"
    assert diagnose(blind, (needy,)).skipped == {"GS999": "forward: the model is compiled"}


def test_findings_are_kept_with_the_row_of_their_detection() -> None:
    """Later revisions extend a finding; they do not move its detection."""
    log = FindingLog(CHAIN)
    (new,) = log.update(Diagnosis((finding("GS101", 1),)), row=2, record=record())
    assert new.step == 2
    assert log.update(Diagnosis((finding("GS101", 1),)), row=3, record=record()) == []
    revised = dataclasses.replace(finding("GS101", 1), steps=(1, 150))
    (longer,) = log.update(Diagnosis((revised,)), row=9, record=record())
    assert (longer.step, longer.steps) == (2, (1, 150))


def test_a_finding_that_no_longer_holds_becomes_info() -> None:
    """A layer that joins the training late was worth a word, and is no alarm any more."""
    log = FindingLog(CHAIN)
    log.update(Diagnosis((finding("GS101", 1),)), row=20, record=record())
    (past,) = log.update(Diagnosis(()), row=50, record=record())
    assert (past.severity, past.text) == ("info", "m (until step 50)")
    assert log.update(Diagnosis(()), row=51, record=record()) == []


def test_a_comment_on_the_cited_line_silences(tmp_path: Path) -> None:
    """`# gradscope: ignore[CODE]`, by code or name, or all of them; other codes still speak."""
    lines = ["a  # gradscope: ignore[GS101]", "b  # gradscope: ignore[gs402, gs104]", "c  # gradscope: ignore", "d"]
    file = tmp_path / "train.py"
    file.write_text("\n".join(lines))
    for line, silent in ((1, {"GS101"}), (2, {"GS402", "GS104"}), (3, {"GS101", "GS402", "GS104"}), (4, set())):
        log = FindingLog(CHAIN)
        found = tuple(finding(c, where=Site(str(file), line)) for c in ("GS101", "GS402", "GS104"))
        log.update(Diagnosis(found), 1, record())
        assert {f.code for f in found} - {f.code for f in log.findings} == silent


def test_a_symptom_that_is_gone_is_put_under_its_cause() -> None:
    """The cause shows later than a symptom that its rule no longer supports: the revision says whose it was."""
    log = FindingLog((*CHAIN[:2], _Lasting()))
    seen = record(optimizer())
    log.update(Diagnosis((finding("GS203", 5),)), 6, seen)
    changed = log.update(Diagnosis((finding("GS101", 1),)), 20, seen)
    assert [("GS203", "GS101")] == [(f.code, f.caused_by) for f in changed if f.code == "GS203"]
    assert [("GS101", None), ("GS203", "GS101")] == told(log.findings)
