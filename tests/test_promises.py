"""The promises as a matrix: each loop that people write, by each of the five. What one of them holds in depth stands in
files of its own (test_changes_nothing, test_failures_inside, test_injections, test_limits, test_cases...).
"""
from __future__ import annotations

from collections.abc import Callable

import pytest

import gradscope
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.recording.recorder import Recorder
from tests.test_changes_nothing import LOOPS, Trained, _as_before, differences, global_hooks, outcome, patched

Loop = Callable[[], Trained]
__all__ = ["_as_before"]  # a fixture, used by all tests here


def changes_nothing(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. The same bits, and afterwards nothing is left anywhere."""
    originals, hooks, expected = patched(), global_hooks(), outcome(loop)
    with gradscope.watch():
        assert [] == differences(expected, outcome(loop))
    assert all(a is b for a, b in zip(originals, patched()))
    assert hooks == global_hooks()


def never_breaks_a_run(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """2. The recorder raises at its 20th call: the same bits, and what happened is said."""
    expected, calls, original = outcome(loop), [0], Recorder.begin

    def begin(*arguments: object) -> bool:
        calls[0] += 1
        if calls[0] == 20:
            raise ArithmeticError("planted failure")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "begin", begin)
    with gradscope.watch() as scope:
        assert [] == differences(expected, outcome(loop))
    assert 20 == calls[0], "nothing is sent any more"
    assert "planted failure" in scope.diagnose().skipped["GS101"]


def is_cheap_and_prints_its_bill(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """3. The bill is told, its seconds are those that were spent, and the record keeps to its bounds."""
    with gradscope.watch(memory_mb=1) as scope:
        outcome(loop)
    meta = scope.record.meta
    assert 0 < DISPATCHER.seconds <= meta.seconds
    assert "of the run's time" in scope.report()
    held = sum(column.nbytes for o in scope.record.optimizers for column in o.arrays.values())
    assert 0 < held < 2**20


def is_right(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """4. These are healthy: neither an error nor a warning, but for the layer that one of them never uses."""
    with gradscope.watch() as scope:
        outcome(loop)
    found = [finding.code for finding in scope.findings if finding.severity != "info"]
    assert (["GS102"] if loop.__name__ == "sparse_and_frozen" else []) == found


def says_what_it_could_not_see(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """5. Without a budget no norm is measured: the rules that need them are named as not checked, with the reason."""
    with gradscope.watch(budget=0) as scope:
        outcome(loop)
    skipped = scope.diagnose().skipped
    assert all("budget is 0" in skipped[code] for code in ("GS402", "GS403"))


PROMISES = (changes_nothing, never_breaks_a_run, is_cheap_and_prints_its_bill, is_right, says_what_it_could_not_see)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_promise(loop: Loop, promise: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop by every promise; what each asks for stands in its function."""
    promise(loop, monkeypatch)
