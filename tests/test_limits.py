"""What watching may cost: the budget, the pinned sampling, bounds of memory and disk; where they are set and told."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradscope
from gradscope.cli import main
from gradscope.config import Limits, read_config
from gradscope.errors import UsageError
from gradscope.events import Point
from gradscope.record.record import Parameter, Wiring
from gradscope.record.table import OptimizerTable
from gradscope.recording.memory import share_memory
from gradscope.recording.sampling import FIRST_ROWS, MAX_STRIDE, SUSPICIOUS_ROWS, Sampling
from tests.forks import cli
from tests.records import NO_METRIC
from tests.shell import SICK, write

X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.linspace(0, 1, 8).reshape(8, 1)


def train(steps: int, mistake_from: int = 1 << 30) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(steps):
        if step < mistake_from:
            optimizer.zero_grad()
        (model(X) - Y).square().mean().backward()
        optimizer.step()


# -- the budget -----------------------------------------------------------------------------------------------------


def sampled(budget: float, step: float, measured: float, watched: float, rules: float = 0.0) -> Sampling:
    """After 2,048 rows of so many seconds each: the loop's own, and ours in measured and in watched rows."""
    sampling, row = Sampling(budget=budget), 0
    while row < 2048:
        stop = row + 1 if sampling.measured(row) else min(row + 8, sampling.next_measured(row))
        rows, cost = stop - row, measured if sampling.measured(row) else watched * (stop - row)
        sampling.others(rules * rows)
        sampling.rows_done(row, rows, cost + rules * rows, step * rows + cost + rules * rows)
        row = stop
    return sampling


@pytest.mark.parametrize("budget, stride", [(0.02, 10), (0.002, 94), (0.2, 1), (1.0, 1), (0.0002, MAX_STRIDE)])
def test_the_stride_keeps_the_budget(budget: float, stride: int) -> None:
    """A measured row costs 1.87 ms more than one that is only watched; a step takes 10 ms."""
    assert stride == sampled(budget, 0.01, 0.00187 + 1e-5, 1e-5).stride


def test_watching_itself_is_outside_of_the_budget() -> None:
    assert sampled(0.02, 0.01, 0.0029, 0.001).stride == sampled(0.02, 0.01, 0.00187, 0.0).stride == 10


def test_rules_and_writing_are_inside_of_it() -> None:
    """They take 1 % of the loop: half of the room is left."""
    assert 19 == sampled(0.02, 0.01, 0.00187, 0.0, rules=0.0001).stride


def test_a_changed_stride_is_in_the_record() -> None:
    sampling = sampled(0.02, 0.01, 0.00187, 0.0)
    assert (0, 1) == sampling.changes[0]
    assert 10 == sampling.changes[-1][1]


def test_after_something_was_found_rows_are_measured() -> None:
    with gradscope.watch(budget=1e-9) as scope:
        train(200, mistake_from=100)
        (optimizer,) = scope.record.optimizers
        (finding,) = [f for f in scope.findings if f.code == "GS101"]
    assert 100 <= finding.step <= 104
    assert {finding.step + i for i in range(2, SUSPICIOUS_ROWS)} <= set(optimizer.measured.tolist())


def test_a_budget_of_nothing() -> None:
    """Wiring and losses; no norms, and it is said; mistakes in the order of the calls are found all the same."""
    with gradscope.watch(budget=0) as scope:
        train(100, mistake_from=50)
    (optimizer,) = scope.record.optimizers
    assert 0 == len(optimizer.measured)
    assert np.isfinite(optimizer.scalars["loss"]).all()
    assert [(0, 0)] == scope.record.meta.strides
    assert ["GS101"] == [finding.code for finding in scope.findings]
    assert "budget is 0" in scope.diagnose().skipped["GS106"]
    assert "norms not measured" in scope.report()


def test_pinned_sampling_gives_identical_findings() -> None:
    """Whatever the clock says."""
    found = []
    for _ in range(2):
        with gradscope.watch(every=3) as scope:
            train(150, mistake_from=90)
        found.append(scope.findings)
        assert list(range(0, 150, 3)) == scope.record.optimizers[0].measured.tolist()
    assert found[0] and found[0] == found[1]


def test_every_and_no_budget() -> None:
    """What is pinned is measured."""
    with gradscope.watch(every=10, budget=0) as scope:
        train(40)
    assert [0, 10, 20, 30] == scope.record.optimizers[0].measured.tolist()
    assert NO_METRIC == scope.diagnose().skipped


def test_the_first_rows_are_whole() -> None:
    with gradscope.watch(budget=1e-9) as scope:
        train(100)
    (optimizer,) = scope.record.optimizers
    assert list(range(FIRST_ROWS)) == optimizer.measured[:FIRST_ROWS].tolist()
    measured = optimizer.wiring & Wiring.STATISTICS != 0
    assert np.isfinite(optimizer.scalars["grad_norm"]).tolist() == measured.tolist()
    assert np.isfinite(optimizer.grad_norm(Point.BEFORE_STEP)).all()


# -- where they are set ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"budget": -0.1}, "budget must be a number of percent"),
        ({"budget": "2"}, "budget must be a number of percent"),
        ({"budget": True}, "budget must be a number of percent"),
        ({"budget": float("nan")}, "budget must be a number of percent"),
        ({"memory_mb": 0}, "memory must be a number of MB, 1 or more"),
        ({"disk_mb": "big"}, "disk must be a number of MB, 1 or more"),
        ({"every": 0}, "every must be a whole number of steps"),
    ],
)
def test_limits_that_are_none(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        gradscope.watch(**arguments)  # type: ignore[arg-type]


def test_limits_of_the_working_directory(tmp_path: Path) -> None:
    """setup.cfg and pyproject.toml know them; arguments come first."""
    (tmp_path / "setup.cfg").write_text("[tool:gradscope]\nbudget = 0.5\ndisk = 9\n")
    config = read_config(tmp_path)
    assert Limits(budget=0.005, disk=9 << 20) == config.limits(None, None, None, None)
    assert Limits(0.03, 5, 2 << 20, 9 << 20) == config.limits(3, 5, 2, None)
    (tmp_path / "pyproject.toml").write_text("[tool.gradscope]\nbudget = 4\n")
    assert 0.04 == read_config(tmp_path).limits(None, None, None, None).budget
    (tmp_path / "pyproject.toml").write_text('[tool.gradscope]\nmemory = "much"\n')
    with pytest.raises(UsageError, match="memory must be a number of MB"):
        read_config(tmp_path)


def test_limits_on_the_command_line(tmp_path: Path) -> None:
    write(tmp_path, SICK, "train.py")
    done = cli(tmp_path, "run", "--budget", "0", "--memory", "8", "--disk", "16", "--json", "r.json", "train.py")
    assert "norms not measured" in done.stderr
    run = json.loads((tmp_path / "r.json").read_text())["run"]
    assert 0 == run["budget"]
    assert [[0, 0]] == run["sampled"]
    assert 0 < run["overhead"]


@pytest.mark.parametrize("option, value", [("--budget", "-1"), ("--memory", "0"), ("--disk", "x"), ("--every", "0")])
def test_wrong_limits_on_the_command_line(
    option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SICK, "train.py")
    assert 2 == main(["run", option, value, "train.py"])
    assert option.lstrip("-") in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


# -- bounds ---------------------------------------------------------------------------------------------------------


def test_memory_is_shared_by_rows_of_parameters_and_scalars() -> None:
    limit = 4 << 20
    tables = [OptimizerTable(i, "SGD", tuple(Parameter(str(p), (1,), 0) for p in range(200)), 300) for i in range(3)]
    share_memory(tables, limit)
    for table in tables:
        rows = 9000
        lr = [0.1] * 300
        scalars = [(row, 1.0, 1.0, 0, 1.0, 1, 0, 0, 0, 0, 1.0, lr) for row in range(rows)]
        arrays = {n: np.zeros(shape, dtype) for n, (dtype, shape) in table.arrays.columns.items()}
        for start in range(0, rows, 500):
            table.extend(scalars[start : start + 500], [arrays] * 20)
    held = sum(block.nbytes for t in tables for store in (t.scalars, t.arrays) for block in store.kept().values())
    assert 0.5 * limit < held <= 1.05 * limit


def test_memory_stays_flat_in_a_long_run(tmp_path: Path) -> None:
    """Once the tables are full, rows only take the places of others."""
    table = OptimizerTable(0, "SGD", (Parameter("w", (1,), 0),), 1)
    table.scalars.resize(1000 * table.scalars.row_bytes)
    sizes = []
    for start in range(0, 60_000, 250):
        rows = [(row, 1.0, 1.0, 0, 1.0, 1, 0, 0, 0, 0, 1.0, [0.1]) for row in range(start, start + 250)]
        table.extend(rows, [])
        sizes.append(len(table.scalars.kept()["row"]))
    assert max(sizes) <= 1000 and min(sizes[8:]) > 600
    kept = table.scalars.kept()["row"]
    assert 0 == kept[0] and 59_999 == kept[-1] and (np.diff(kept) > 0).all()


def test_many_optimizers_go_to_disk(tmp_path: Path) -> None:
    """One for each task: tables that memory has let go of before a chunk was due are written all the same."""
    with gradscope.watch(log_dir=tmp_path / "runs") as scope:
        for _ in range(200):
            train(2)
    [folder] = (tmp_path / "runs").iterdir()
    known = [json.loads(line) for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    written = {int(line["chunk"].split("/")[0]) for line in known if str(line.get("chunk", "")).endswith("/scalars")}
    assert set(range(200)) == written
    assert 400 == scope.record.meta.rows
