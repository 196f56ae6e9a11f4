"""The learning-rate benchmark, on numbers made by hand: what a run is, who noticed, and whose advice helped."""
from __future__ import annotations

import hashlib
import importlib
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gradscope.events import GradState, Point
from gradscope.record.reader import read_findings, read_record

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
INF = math.inf
LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d ([0-9a-f]{12}|unknown)\+? learning_rate\.py .+"  # of the log


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("judging")


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("problems")


@pytest.mark.parametrize(
    "lr, final, expected",
    [
        (0.1, 1.0, "fine"),  # the best of them
        (0.03, 1.2, "fine"),  # 20 % above the best one, and 97.8 % of the way
        (0.03, 1.28, "between"),  # 28 % above it, and 96.9 %
        (0.3, 1.27, "fine"),  # 97 % of the way is enough alone
        (0.3, 3.2, "between"),  # 75.6 %
        (0.3, 3.3, "too high"),  # 74.4 %
        (0.3, INF, "too high"),
        (0.03, 3.3, "too low"),
        (0.03, 11.0, "too low"),  # went up, below the best rate
        (0.2, 0.5, "fine"),  # an advised rate, better than all of the grid
    ],
)
def test_what_a_run_is(judging: ModuleType, lr: float, final: float, expected: str) -> None:
    """From 10 at the start to 1 at best, at 0.1: the thresholds of progress and of the loss itself, on both sides."""
    truth = judging.Truth.of(10.0, {0.01: 9.0, 0.1: 1.0, 1.0: INF})
    assert (0.1, 1.0) == (truth.best_lr, truth.best)
    assert expected == truth.label(lr, final)


def test_close_to_the_best_is_not_enough_alone(judging: ModuleType) -> None:
    """Where little is to be gained, the loss may be within 20 % of the best and too little learned."""
    truth = judging.Truth.of(2.0, {0.1: 1.0})
    assert ["fine", "between", "too high"] == [truth.label(0.3, final) for final in (1.14, 1.16, 1.26)]


def test_where_nothing_learns_nothing_is_told(judging: ModuleType) -> None:
    """No rate of the grid comes below the start: there is no best one to compare with."""
    truth = judging.Truth.of(1.0, {0.1: 1.0, 1.0: INF})
    assert {"between"} == {truth.label(lr, final) for lr, final in [(0.1, 1.0), (1.0, INF), (0.5, 2.0)]}


def test_the_untouched_part_is_a_third_by_hash(problems: ModuleType) -> None:
    """Of the problem's name alone; both parts have adaptive and other optimizers, and enough of both."""
    assert problems.is_untouched("a") == (int(hashlib.sha256(b"a").hexdigest(), 16) % 3 == 0)
    assert [True, False] == [problems.is_untouched(name) for name in ("mlp-digits-nesterov", "mlp-digits-adam")]
    names = [problem.name for problem in problems.PROBLEMS]
    assert len(names) == len(set(names)) >= 20
    for part in (True, False):
        assert {True, False} == {p.adaptive for p in problems.PROBLEMS if p.untouched == part}
    assert 0.2 < sum(p.untouched for p in problems.PROBLEMS) / len(names) < 0.5


def test_grids_are_half_decades(problems: ModuleType) -> None:
    """On the grid that advice is given on."""
    assert (0.003, 0.01, 0.03, 0.1) == problems.half_decades(0.003, 0.1)
    assert all(len(p.grid) >= 8 and list(p.grid) == sorted(p.grid) for p in problems.PROBLEMS)


def alarm(
    judging: ModuleType, code: str, step: int, *lrs: tuple[int, float, float], severity: str = "warning"
) -> object:
    return judging.Alarm(code, severity, step, None, lrs, "")


def test_who_says_too_high(judging: ModuleType) -> None:
    """GS301 aloud; a rule about losses only where it advises a lower rate; never an info."""
    says = judging.says_high
    assert says(alarm(judging, "GS301", 3))
    assert not says(alarm(judging, "GS301", 3, (0, 1.0, 0.1), severity="info"))
    assert says(alarm(judging, "GS203", 3, (0, 1.0, 0.1)))
    assert not says(alarm(judging, "GS203", 3))
    assert not says(alarm(judging, "GS202", 3, (0, 0.1, 1.0)))
    assert not says(alarm(judging, "GS101", 3, (0, 1.0, 0.1)))


def test_whose_advice_is_heard(judging: ModuleType) -> None:
    """GS301 before the losses' rules, "lower" before "raise"; that for a scaled group is scaled back."""
    advised = judging.advised
    early, late = alarm(judging, "GS203", 2, (0, 1.0, 0.1)), alarm(judging, "GS301", 9, (0, 1.0, 0.03))
    raised = alarm(judging, "GS302", 1, (0, 1.0, 3.0), severity="info")
    assert 0.03 == advised([early, late, raised], (1.0,))
    assert 0.1 == advised([early, raised], (1.0,))
    assert 3.0 == advised([raised], (1.0,))
    assert 0.3 == advised([alarm(judging, "GS301", 1, (1, 0.1, 0.03))], (1.0, 0.1))
    assert advised([alarm(judging, "GS301", 1)], (1.0,)) is None


def test_the_scores(judging: ModuleType) -> None:
    """Precision and recall over what is clearly one or the other; advice that was not given did not help."""

    def run(label: str, *alarms: object, ratio: float = 5.0, **tries: object) -> object:
        return judging.Run("p", False, 0, 0.1, label, ratio, None, None, alarms, tries)

    loud, low = alarm(judging, "GS301", 4), alarm(judging, "GS302", 20)
    fine, worse = judging.Try(0.01, "fine", 1.1), judging.Try(0.3, "too high", 9.0)
    runs = [
        run("too high", loud, me=(fine,)),
        run("too high", alarm(judging, "GS301", 8), me=(worse, fine)),
        run("too high", low),
        run("too high"),
        run("fine", loud),
        run("fine"),
        run("between", loud),
        run("too low", low),
    ]
    found = judging.detection(runs, judging.OWN_HIGH["gradscope"], "too high")
    assert (2 / 3, 0.5, 6, 1) == (found.precision, found.recall, found.step, found.on_fine)
    found = judging.detection(runs, judging.OWN_LOW["GS302"], "too low")
    assert (0.5, 1.0, 20, 0) == (found.precision, found.recall, found.step, found.on_fine)
    helped = judging.success(runs[:4], "me")
    shares = (helped.given, helped.fine_at_once, helped.fine_after_two, helped.better, helped.ratio)
    assert (0.5, 0.25, 0.5, 0.25, 5.05) == shares


def test_the_peers_detections(judging: ModuleType) -> None:
    """Not finite; three losses in a row above twice the first one."""
    assert 2 == judging.first_broken([1.0, 5.0, INF]) == judging.first_doubled([1.0, 1.0, math.nan])
    assert judging.first_broken([1.0, 5.0]) is None
    assert 4 == judging.first_doubled([1.0, 2.0, 2.1, 2.1, 2.1])
    assert judging.first_doubled([1.0, 3.0, 3.0, 2.0, 3.0]) is None


def test_each_look_at_the_untouched_part_is_a_line() -> None:
    """Date, commit, command: nothing else stands in the log."""
    first, *lines = (BENCHMARKS / "learning_rate.log").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    for line in lines:
        assert re.fullmatch(LINE, line), line


@pytest.mark.parametrize(
    "arguments, lines",
    [
        (["--part", "untouched"], 1),
        (["--part", "all", "--problems", "mlp-digits-adam,mlp-digits-nesterov"], 1),
        (["--part", "all", "--problems", "mlp-digits-adam"], 0),  # in the tuning part
        (["--part", "untouched", "--truth-only"], 0),
        ([], 0),
    ],
)
def test_who_looks_is_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], lines: int
) -> None:
    """Where gradscope is asked about a problem of the untouched part, and before it is."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("learning_rate")
    log, seen = tmp_path / "log", []

    def studied(names: list[str], options: object, jobs: int) -> list[object]:
        seen.extend(names)
        assert lines == (len(log.read_text().splitlines()) if log.exists() else 0)
        return []

    monkeypatch.setattr(benchmark, "LOG", log)
    monkeypatch.setattr(benchmark, "studied", studied)
    monkeypatch.setattr("sys.argv", ["learning_rate.py", *arguments])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert 0 == benchmark.main()
    assert seen
    if lines:
        assert re.fullmatch(LINE, log.read_text().strip())


def test_a_problem_of_the_other_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the untouched part by naming one of its problems."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("learning_rate")
    monkeypatch.setattr("sys.argv", ["learning_rate.py", "--problems", "mlp-digits-nesterov"])
    with pytest.raises(SystemExit):
        benchmark.main()


def test_an_invented_run_is_one_as_the_recorder_writes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small one: its parameters in two groups and in the order of the model, its gradients in all states."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    made_runs = importlib.import_module("made_runs")
    made_runs.make_run(tmp_path, steps=400, blocks=2, experts=4)
    record = read_record(tmp_path)
    (found,) = record.optimizers
    assert list(range(400)) == found.rows.tolist() == found.measured.tolist()
    states, norms = found.grad_state(Point.BEFORE_STEP), found.grad_norm(Point.BEFORE_STEP)
    assert set(GradState) - {GradState.NOT_SEEN} == set(states.ravel().tolist())
    assert ((states == GradState.ZERO) == (norms == 0)).all() and np.isnan(norms[states == GradState.NONE]).all()
    assert np.isinf(found.grad_norm(Point.AFTER_BACKWARD)).any() and np.isnan(record.streams[0].loss).any()
    assert [0] * 2 + [1] * 2 == sorted(p.group for p in found.parameters if p.name.startswith("blocks.1.moe.experts.3"))
    assert sorted(range(len(found.parameters))) == sorted(p.place for p in found.parameters)
    assert "finished" == record.meta.status and len(read_findings(tmp_path)) == 4
    assert 1000 == len(made_runs.parameters())
