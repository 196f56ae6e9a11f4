"""What TensorBoard shows: curves and findings, read back with tensorboard's own reader; in its own page, too."""
from __future__ import annotations

import errno
import html
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import gradscope
from gradscope.events import GradState, Site
from gradscope.findings import Advice, Finding
from gradscope.record.record import Meta, Parameter, Wiring
from gradscope.record.run_folder import RunFolder
from gradscope.record.table import POINTS, OptimizerTable
from gradscope.reporters import markdown
from gradscope.reporters.event_file import EVENTS, EventFile
from gradscope.reporters.report import Report
from gradscope.reporters.tags import MAX_MODULES, MAX_OPTIMIZERS, MAX_PARAMETERS, modules_of
from gradscope.reporters.tensorboard import TensorBoard
from tests.shell import HEALTHY, SICK, environment, watched, watched_command, write

NAN, INF = float("nan"), float("inf")


# -- reading back ---------------------------------------------------------------------------------------------------


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def curve(folder: Path, tag: str) -> dict[int, float]:
    """A curve's values by step."""
    return {event.step: event.value for event in read(folder).Scalars(tag)}


def scalar_tags(folder: Path) -> list[str]:
    return sorted(read(folder).Tags()["scalars"])


def texts(folder: Path, tag: str = "gradscope/findings") -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in read(folder).Tensors(tag)]


def only_run(folder: Path) -> Path:
    [run] = folder.iterdir()
    return run


# -- loops ----------------------------------------------------------------------------------------------------------


def train(steps: int = 30, sick: bool = False) -> list[float]:
    """A small training; returns its losses."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        if not sick:
            optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class Writer:
    """The least that a user's writer must have."""

    def __init__(self) -> None:
        self.values: list[tuple[str, float, int]] = []
        self.written: list[str] = []
        self.flushed = 0

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.values.append((tag, value, step))

    def add_text(self, tag: str, text: str, step: int) -> None:
        self.written.append(text)

    def flush(self) -> None:
        self.flushed += 1


# -- the reporter, on hand-made rows --------------------------------------------------------------------------------


def table(
    names: tuple[str, ...] = ("net.0.weight", "net.0.bias", "net.1.weight"),
    number: int = 0,
    variable: str = "optimizer",
    groups: int = 1,
) -> OptimizerTable:
    parameters = tuple(Parameter(name, (2,), 0) for name in names)
    return OptimizerTable(number, "SGD", parameters, groups, variable)


def row(number: int, loss: float = 1.0, norm: float = 3.0, lr: tuple[float, ...] = (0.1,), **changes: Any) -> Any:
    """The scalars of a row."""
    return {
        "row": number,
        "loss": loss,
        "joint_loss": loss,
        "loss_scale": 1.0,
        "wiring": int(Wiring.STATISTICS),
        "grad_norm": norm,
        "lr": list(lr),
        **changes,
    }


def arrays(number: int, norms: list[float], present: list[bool] | None = None, made: list[float] | None = None) -> Any:
    """The arrays of a measured row: the gradients before the step, and (`made`) after backward."""
    state = np.full((POINTS, len(norms)), GradState.FRESH, np.uint8)
    if present is not None:
        state[:, ~np.array(present)] = GradState.NONE
    norm = np.tile(np.array(norms, np.float32), (POINTS, 1))
    if made is not None:
        norm[2] = made
    return {"row": number, "state": state, "norm": norm}


def report(*findings: Finding, rows: int = 1, **changes: Any) -> Report:
    return Report(Meta(rows=rows, optimizers=["SGD"], **changes), findings, {})


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TensorBoard]:
    """A reporter that writes into tmp_path, and has nothing to complain of."""
    said: list[str] = []
    yield TensorBoard(lambda: EventFile(tmp_path), said.append)
    assert [] == said


def test_curves_of_one_optimizer(board: TensorBoard, tmp_path: Path) -> None:
    """Loss, lr and norm of each of the first rows; norms of modules and parameters; nothing else."""
    one = table()
    for i in range(5):
        board.row(one, row(i, loss=2.0 - i / 4, norm=5.0, lr=(0.5,)), arrays(i, [3.0, 4.0, 0.0]))
    board.close([(0,)], report(rows=5))
    assert scalar_tags(tmp_path) == [
        "gradscope modules/net.0",
        "gradscope modules/net.1",
        "gradscope parameters/net.0.bias",
        "gradscope parameters/net.0.weight",
        "gradscope parameters/net.1.weight",
        "gradscope/gradient norm",
        "gradscope/loss",
        "gradscope/lr",
    ]
    assert {0: 2.0, 1: 1.75, 2: 1.5, 3: 1.25, 4: 1.0} == curve(tmp_path, "gradscope/loss")
    assert {i: 0.5 for i in range(5)} == curve(tmp_path, "gradscope/lr")
    assert {i: 5.0 for i in range(5)} == curve(tmp_path, "gradscope/gradient norm")
    assert {i: 5.0 for i in range(5)} == curve(tmp_path, "gradscope modules/net.0")
    assert {i: 4.0 for i in range(5)} == curve(tmp_path, "gradscope parameters/net.0.bias")
    events = list(read_events(tmp_path))
    assert 1 + 5 + 1 == len(events), "a row is one event, however many values it has"


def read_events(folder: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    return iter(RawEventFileLoader(str(folder / EVENTS)).Load())


def test_wall_time_is_that_of_the_row(board: TensorBoard, tmp_path: Path) -> None:
    """Not that of the flush, half a minute later."""
    before = time.time()
    board.row(table(), row(0), None)
    after = time.time()
    board.close([(0,)], report())
    [event] = read(tmp_path).Scalars("gradscope/loss")
    assert before <= event.wall_time <= after


def test_twenty_thousand_rows(board: TensorBoard, tmp_path: Path) -> None:
    """The number of points grows logarithmically; each thinned loss is the mean over the rows since the last point, so
    that the points' means, weighted, are the mean of all rows."""
    names = tuple(f"layer{i}.weight" for i in range(4))
    one, rows = table(names), 20_000
    losses = [math.sin(i) + 3 for i in range(rows)]
    for i, loss in enumerate(losses):
        board.row(one, row(i, loss), arrays(i, [1.0] * 4) if i % 8 == 0 else None)
    board.close([(0,)], report(rows=rows))
    points = curve(tmp_path, "gradscope/loss")
    assert set(range(100)) < set(points)
    assert 300 < len(points) < 400
    assert len(curve(tmp_path, "gradscope/gradient norm")) < 400
    assert 30 < len(curve(tmp_path, "gradscope modules/layer0")) < 110
    assert 15 < len(curve(tmp_path, "gradscope parameters/layer0.weight")) < 40
    assert rows - 1 == max(points)
    steps = sorted(points)
    widths = np.diff([-1, *steps])
    assert np.mean(losses) == pytest.approx(np.average([points[s] for s in steps], weights=widths), rel=1e-6)
    assert (tmp_path / EVENTS).stat().st_size < 5 * rows


@pytest.mark.parametrize("odd", [NAN, INF, -INF, 1e300])
def test_nothing_non_finite_is_dropped(odd: float, board: TensorBoard, tmp_path: Path) -> None:
    """NaN and infinite losses and norms are points (TensorBoard draws triangles), also inside a mean."""
    one = table()
    for i in range(400):
        loss, norms = (odd, [odd, 1.0, 1.0]) if i in (3, 333) else (1.0, [1.0] * 3)
        with np.errstate(over="ignore"):
            board.row(one, row(i, loss, abs(loss)), arrays(i, norms))
    board.close([(0,)], report(rows=400))
    for tag in ("loss", "gradient norm"):
        points = curve(tmp_path, f"gradscope/{tag}")
        assert [3] == [step for step, value in points.items() if not math.isfinite(value) and step < 100]
        assert 1 == sum(not math.isfinite(value) for step, value in points.items() if step >= 100)
    assert not math.isfinite(curve(tmp_path, "gradscope parameters/net.0.weight")[3])
    assert "gradscope/gradient norm after backward" not in scalar_tags(tmp_path)
    assert not math.isfinite(curve(tmp_path, "gradscope modules/net.0")[3])
    assert math.isfinite(curve(tmp_path, "gradscope modules/net.1")[3])


def test_what_is_not_there_has_no_point(board: TensorBoard, tmp_path: Path) -> None:
    """No scalar loss, no gradient, no learning rate, no measurement: a gap, never NaN or 0."""
    one = table()
    no_loss = row(0, NAN, wiring=int(Wiring.NO_LOSS | Wiring.STATISTICS))
    board.row(one, no_loss, arrays(0, [NAN, NAN, 2.0], [False, False, True]))
    board.row(one, row(1, 4.0, NAN, lr=(NAN,)), None)
    board.close([(0,)], report(rows=2))
    assert {1: 4.0} == curve(tmp_path, "gradscope/loss")
    assert {0: 3.0} == curve(tmp_path, "gradscope/gradient norm")
    assert {0: pytest.approx(0.1)} == curve(tmp_path, "gradscope/lr")
    assert {"gradscope modules/net.1", "gradscope parameters/net.1.weight"} == {
        tag for tag in scalar_tags(tmp_path) if not tag.startswith("gradscope/")
    }


def test_clipping_and_loss_scale_are_shown_where_there_are_any(board: TensorBoard, tmp_path: Path) -> None:
    """From the first row on that is clipped or scaled: also where it is not any more."""
    one = table()
    for i, (made, scale) in enumerate([(1.0, 1.0), (7.0, 8.0), (1.0, 1.0)]):
        board.row(one, row(i, loss_scale=scale), arrays(i, [1.0, 0.0, 0.0], made=[made, 0.0, 0.0]))
    board.close([(0,)], report(rows=3))
    assert {1: 7.0, 2: 1.0} == curve(tmp_path, "gradscope/gradient norm after backward")
    assert {1: 8.0, 2: 1.0} == curve(tmp_path, "gradscope/loss scale")


def test_several_optimizers_and_groups(board: TensorBoard, tmp_path: Path) -> None:
    """Tags end in the variable's name, with a number where that is taken; equal parameter names stay apart."""
    d, again = table(number=0, variable="opt_d"), table(number=2, variable="opt_d")
    g = table(number=1, variable="opt_g", groups=2)
    for i in range(4):
        for number, one in enumerate((d, g, again)):
            rates = (0.1, 0.2) if one is g else (0.1,)
            board.row(one, row(3 * i + number, float(number), lr=rates), arrays(i, [1.0] * 3))
    board.close([(0,), (1,), (2,)], report(rows=12))
    tags = scalar_tags(tmp_path)
    for name in ("opt_d", "opt_g", "opt_d_2"):
        assert f"gradscope/loss/{name}" in tags and f"gradscope/gradient norm/{name}" in tags
    assert {"gradscope/lr/opt_d", "gradscope/lr/opt_g/group 0", "gradscope/lr/opt_g/group 1"} <= set(tags)
    assert {1: 1.0, 4: 1.0, 7: 1.0, 10: 1.0} == curve(tmp_path, "gradscope/loss/opt_g")
    assert {0, 3, 6, 9} == set(curve(tmp_path, "gradscope parameters/net.0.bias"))
    assert {1, 4, 7, 10} == set(curve(tmp_path, "gradscope parameters/net.0.bias/opt_g"))


@pytest.mark.parametrize("losses, shown", [((2.0, 2.0), 2.0), ((2.0, 5.0), 9.0), ((NAN, NAN), NAN)])
def test_one_loss_a_stream(losses: tuple[float, float], shown: float, board: TensorBoard, tmp_path: Path) -> None:
    """Optimizers that step together have one loss: theirs where they agree, else that of the row."""
    for number, loss in enumerate(losses):
        board.row(table(number=number, variable=f"opt{number}"), row(0, loss, joint_loss=9.0), None)
    board.close([(0, 1)], report())
    assert ["gradscope/loss"] == [tag for tag in scalar_tags(tmp_path) if "loss" in tag]
    assert {0: pytest.approx(shown, nan_ok=True)} == curve(tmp_path, "gradscope/loss")


def test_tags_stay(board: TensorBoard, tmp_path: Path) -> None:
    """A second optimizer, a group and parameters that come later rename nothing that has been shown."""
    one = table(("a.weight",), variable="first")
    board.row(one, row(0), arrays(0, [1.0]))
    board.flush([(0,)], report())
    one.widen((*one.parameters, Parameter("b.weight", (2,), 1)), 2)
    other = table(("c.weight",), 1, "second")
    for i in range(1, 4):
        board.row(one, row(i, lr=(0.1, 0.2)), arrays(i, [1.0, 2.0]))
        board.row(other, row(i), arrays(i, [3.0]))
    board.close([(0,), (1,)], report(rows=4))
    assert set(range(4)) == set(curve(tmp_path, "gradscope/loss")) == set(curve(tmp_path, "gradscope/lr"))
    assert {1, 2, 3} == set(curve(tmp_path, "gradscope/loss/second")) == set(curve(tmp_path, "gradscope/lr/group 1"))
    assert {1, 2, 3} == set(curve(tmp_path, "gradscope parameters/b.weight"))


def test_big_nets_are_bounded(board: TensorBoard, tmp_path: Path) -> None:
    """Of many parameters and modules some, evenly spread; a text says how many more there are."""
    names = tuple(f"layers.{i}.{kind}" for i in range(1000) for kind in ("weight", "bias"))
    board.row(table(names), row(0), arrays(0, [1.0] * len(names)))
    board.close([(0,)], report())
    tags = scalar_tags(tmp_path)
    parameters = [tag for tag in tags if tag.startswith("gradscope parameters/")]
    assert MAX_PARAMETERS == len(parameters)
    assert {"gradscope parameters/layers.0.weight", "gradscope parameters/layers.999.bias"} < set(parameters)
    assert sum(tag.startswith("gradscope modules/") for tag in tags) <= MAX_MODULES
    assert "1800 parameters have no curve" in texts(tmp_path)[-1]


def test_many_optimizers_are_bounded(board: TensorBoard, tmp_path: Path) -> None:
    """A loop that makes an optimizer for each of a thousand tasks."""
    for number in range(100):
        board.row(table(number=number), row(number), arrays(number, [1.0] * 3))
    board.close([(number,) for number in range(100)], report(rows=100))
    tags = scalar_tags(tmp_path)
    assert MAX_OPTIMIZERS == sum(tag.startswith("gradscope/loss") for tag in tags)
    assert sum(tag.startswith("gradscope parameters/") for tag in tags) <= MAX_PARAMETERS
    assert f"first {MAX_OPTIMIZERS} optimizers" in texts(tmp_path)[-1]


@pytest.mark.parametrize("names, room, modules", [
    (["a.0.weight", "a.0.bias", "a.1.weight", "b.weight"], 9, ["a.0", "a.0", "a.1", "b"]),
    (["a.0.weight", "a.0.bias", "a.1.weight", "b.weight"], 2, ["a", "a", "a", "b"]),
    (["a.weight", "b.weight", "c.weight"], 2, ["a", None, "c"]),
    (["a.weight", "token"], 9, ["a", "token"]),
    (["a.weight", "a.bias"], 9, [None, None]),
    (["weight"], 9, [None]),
    (["a.weight", "b.weight"], 0, [None, None]),
    ([], 9, []),
])  # fmt: skip
def test_modules_at_the_depth_that_fits(names: list[str], room: int, modules: list[str | None]) -> None:
    """As deep as there is room for; one module alone would be the net again."""
    assert modules == modules_of(names, room)


# -- findings -------------------------------------------------------------------------------------------------------

CAUSE = Finding(
    "GS101", "missing-zero-grad", "error", "|g| grew {first} -> {last} in <lambda>, __init__ *and* [x](y)", (1, 9),
    evidence={"first": 0.9, "last": 184.0}, optimizer=0, where=Site("/home/me/train.py", 30),
    advice=(Advice("call optim.zero_grad() before line 30"),), label="adds to old gradients",
    source=((29, "    loss = f(x)  # ```"), (30, "    loss.backward()")),
)  # fmt: skip
FOLDED = Finding("GS203", "loss-rising", "warning", "the loss rose", (4, 9), optimizer=0, caused_by="GS101")


def test_findings_as_markdown() -> None:
    """Severity, code, name, place, message, source, advice; consequences folded under their cause; what was skipped."""
    shown = markdown.render(Report(
        Meta(rows=10, status="crashed", optimizers=["SGD"]), (CAUSE, FOLDED), {"GS901": "no metric"},
        base=Path("/home/me"),
    ))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of tensorboard's own packages
        from tensorboard.plugin_util import markdown_to_safe_html

        page = markdown_to_safe_html(shown)
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert "1 error, 0 warnings in 10 steps" in text
    assert "train.py:30: error GS101 missing-zero-grad (SGD, steps 1-9)" in text
    assert "|g| grew 0.9 -> 184 in <lambda>, __init__ *and* [x](y)" in text
    assert "   29 | loss = f(x)  # ```\n   30 | loss.backward()\n      | ^ adds to old gradients" in text
    assert "help: call optim.zero_grad() before line 30" in text
    assert "then: GS203 loss-rising (from step 4)" in text
    assert "the loss rose" not in text
    assert "The run crashed." in text
    assert "GS901 was not checked: no metric" in text


def test_findings_are_written_when_they_change(board: TensorBoard, tmp_path: Path) -> None:
    """Nothing while there is nothing; then at each change of what is found, not of its numbers; at the end, always."""
    board.row(table(), row(0), None)
    board.flush([(0,)], report())
    board.flush([(0,)], report(CAUSE))
    board.flush([(0,)], report(CAUSE, rows=20))
    board.flush([(0,)], report(CAUSE, FOLDED, rows=30))
    board.close([(0,)], report(CAUSE, FOLDED, rows=40))
    assert ["1 step", "30 steps", "40 steps"] == [
        re.search(r"in (\d+ steps?)", text).group(1) for text in texts(tmp_path)  # type: ignore[union-attr]
    ]
    assert [0, 29, 39] == [event.step for event in read(tmp_path).Tensors("gradscope/findings")]


def test_a_healthy_run_says_so(board: TensorBoard, tmp_path: Path) -> None:
    """The page is not empty: one cannot tell "healthy" from "not watched" there."""
    board.row(table(), row(0), None)
    board.close([(0,)], report(rows=7))
    assert ["## no errors, no warnings in 7 steps\n"] == texts(tmp_path)


# -- through watch and run ------------------------------------------------------------------------------------------


def test_log_dir_gets_an_event_file(tmp_path: Path) -> None:
    """The losses of the loop are those of the curve, the sickness is in the text."""
    with gradscope.watch(log_dir=tmp_path, every=1):
        losses = train(sick=True)
    run = only_run(tmp_path)
    assert losses == pytest.approx(list(curve(run, "gradscope/loss").values()))
    assert {"gradscope modules/0", "gradscope modules/2", "gradscope parameters/0.weight"} <= set(scalar_tags(run))
    assert set(range(30)) == set(curve(run, "gradscope/gradient norm"))
    assert "GS101" in texts(run)[-1]


def test_without_log_dir_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`watch()` alone keeps all in memory."""
    monkeypatch.chdir(tmp_path)
    with gradscope.watch():
        train()
    assert [] == list(tmp_path.iterdir())


def test_run_writes_it(tmp_path: Path) -> None:
    """`gradscope run`: in the run folder, where `tensorboard --logdir runs` finds it."""
    outcome = watched(tmp_path, write(tmp_path, SICK))
    assert 0 == outcome.code
    run = only_run(tmp_path / "runs")
    losses = [float(line) for line in outcome.stdout.split()]
    assert losses == pytest.approx(list(curve(run, "gradscope/loss").values()))
    assert "train.py:11: error GS101 missing-zero-grad" in texts(run)[-1]


def test_kill_leaves_a_readable_file(tmp_path: Path) -> None:
    """What had been flushed is there after kill -9."""
    script = write(tmp_path, HEALTHY.replace("range(12)", "range(10**9)"))
    command = watched_command(script)
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not any(f.stat().st_size > 10_000 for f in tmp_path.glob(f"runs/*/{EVENTS}")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    points = curve(only_run(tmp_path / "runs"), "gradscope/loss")
    assert set(range(100)) <= set(points)


def test_two_optimizers_of_a_real_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GAN's two: told apart by the names that the loop has for them, also if one of them has not stepped yet when the
    first curves are written."""
    monkeypatch.setattr(RunFolder, "due", lambda self: True)
    d, g = nn.Linear(2, 1), nn.Linear(1, 2)
    opt_d, opt_g = torch.optim.SGD(d.parameters(), 0.1), torch.optim.Adam(g.parameters(), 0.2)
    with gradscope.watch(log_dir=tmp_path):
        for _ in range(6):
            opt_d.zero_grad()
            d(g(torch.ones(4, 1)).detach()).mean().backward()
            opt_d.step()
            opt_g.zero_grad()
            d(g(torch.ones(4, 1))).square().mean().backward()
            opt_g.step()
    run = only_run(tmp_path)
    assert {0: 0.1} == {0: pytest.approx(curve(run, "gradscope/lr/opt_d")[0])}
    assert {1, 3, 5, 7, 9, 11} == set(curve(run, "gradscope/loss/opt_g"))
    assert not {"gradscope/loss", "gradscope/lr", "gradscope/gradient norm"} & set(scalar_tags(run))


def test_several_optimizers_in_one_stream(tmp_path: Path) -> None:
    """Always stepped together: one loss, and a norm of each."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    muon, adamw = (torch.optim.SGD(layer.parameters(), 0.1) for layer in model)
    with gradscope.watch(log_dir=tmp_path, every=1):
        for _ in range(6):
            model.zero_grad()
            model(torch.ones(4, 2)).mean().backward()
            muon.step()
            adamw.step()
    tags = [tag for tag in scalar_tags(only_run(tmp_path)) if tag.startswith("gradscope/")]
    assert ["gradient norm/adamw", "gradient norm/muon", "loss", "lr/adamw", "lr/muon"] == [
        tag.removeprefix("gradscope/") for tag in tags
    ]


# -- the user's own writer ------------------------------------------------------------------------------------------


def test_users_writer(tmp_path: Path) -> None:
    """Curves and text go into it, nowhere else; it stays open, flushed, and usable."""
    writer = SummaryWriter(str(tmp_path))
    with gradscope.watch(writer=writer, every=1):
        losses = train(sick=True)
    assert losses == pytest.approx(list(curve(tmp_path, "gradscope/loss").values()))
    assert "GS101" in texts(tmp_path, "gradscope/findings/text_summary")[-1]
    writer.add_scalar("mine", 1.0, 5)
    writer.close()
    assert {5: 1.0} == curve(tmp_path, "mine")
    assert 1 == len(list(tmp_path.iterdir()))


def test_users_writer_beside_log_dir(tmp_path: Path) -> None:
    """The record goes into the folder, the curves into the writer instead."""
    writer = Writer()
    with gradscope.watch(log_dir=tmp_path, writer=writer):
        train()
    assert not (only_run(tmp_path) / EVENTS).exists()
    assert [0, 1, 2] == [step for tag, _, step in writer.values if tag == "gradscope/loss"][:3]
    assert 1 == len(writer.written) == writer.flushed


def test_writer_of_an_inner_scope(capsys: pytest.CaptureFixture[str]) -> None:
    """It gets what happens inside that scope; closed after it, while the outer one goes on, is in order."""
    writer = SummaryWriterLike()
    with gradscope.watch():
        train(5)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with gradscope.watch(model, optimizer, writer=writer):
            for _ in range(4):
                optimizer.zero_grad()
                model(torch.ones(1, 2)).sum().backward()
                optimizer.step()
        writer.close()
        seen = len(writer.values)
        train(5)
    assert 4 == sum(tag.startswith("gradscope/loss") for tag, _, _ in writer.values)
    assert seen == len(writer.values)
    assert "" == capsys.readouterr().err


def test_same_scope_again_with_a_new_writer() -> None:
    """A notebook cell run twice: the second writer gets what follows; twice the same one is once."""
    first, second = Writer(), Writer()
    scope = gradscope.watch(writer=first)
    assert scope is gradscope.watch(writer=first) is gradscope.watch(writer=second)
    train(3)
    scope.close()
    assert first.values == second.values
    assert 3 == sum(tag == "gradscope/loss" for tag, _, _ in first.values)


class SummaryWriterLike(Writer):
    """With torch's way to show that it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.file_writer: object = self

    def close(self) -> None:
        self.file_writer = None


class Failing(Writer):
    def add_scalar(self, tag: str, value: float, step: int) -> None:
        super().add_scalar(tag, value, step)
        if len(self.values) == 7:
            raise ArithmeticError("planted failure")


def test_users_writer_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Its exception does not reach the loop: said once, nothing more is written there, the rest goes on."""
    writer, expected = Failing(), train(sick=True)
    with gradscope.watch(writer=writer) as scope:
        assert expected == train(sick=True)
    assert 7 == len(writer.values)
    assert ["GS101"] == [finding.code for finding in scope.findings]
    said = capsys.readouterr().err
    assert "gradscope: nothing more is written for TensorBoard: planted failure\n" == said


def test_users_writer_is_closed_too_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A closed SummaryWriter would quietly open a second file: it is left alone, said once."""
    writer = SummaryWriter(str(tmp_path))
    with gradscope.watch(writer=writer):
        train()
        writer.close()
    assert 1 == capsys.readouterr().err.count("the SummaryWriter has been closed")
    assert 1 == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize("wrong", ["runs", 3, object()])
def test_writer_is_no_writer(wrong: object) -> None:
    """Said at once, in one sentence."""
    with pytest.raises(gradscope.UsageError, match="writer must be a SummaryWriter, not"):
        gradscope.watch(writer=wrong)


# -- failures -------------------------------------------------------------------------------------------------------


def disk_full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("owner, name", [(EventFile, "flush"), (EventFile, "__init__"), (EventFile, "scalars"),
                                         (TensorBoard, "_row"), (TensorBoard, "_flush")])  # fmt: skip
def test_writing_fails(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whatever fails about it: said once; the training, the record and the findings are whole."""
    expected = train(sick=True)
    monkeypatch.setattr(owner, name, disk_full)
    with gradscope.watch(log_dir=tmp_path) as scope:
        assert expected == train(sick=True)
    said = capsys.readouterr().err
    assert "gradscope: nothing more is written for TensorBoard: No space left on device\n" == said
    assert ["GS101"] == [finding.code for finding in scope.findings]
    assert (only_run(tmp_path) / "record.bin").stat().st_size > 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_disk_is_really_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The same with a file on a device that is full from the start."""
    from gradscope import scope as scopes

    (tmp_path / EVENTS).symlink_to("/dev/full")
    monkeypatch.setattr(scopes, "new_run_folder", lambda directory, stem: tmp_path)
    with gradscope.watch(log_dir=tmp_path) as scope:
        train()
    assert 1 == capsys.readouterr().err.count("No space left on device")
    assert 30 == scope.record.meta.rows


def test_tensorboard_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Said once; the run folder is written all the same."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with gradscope.watch(log_dir=tmp_path):
        train(3)
    assert 1 == capsys.readouterr().err.count("nothing more is written for TensorBoard")
    assert (only_run(tmp_path) / "meta.json").exists()


def test_a_file_named_tensorboard_beside_the_script(tmp_path: Path) -> None:
    """It is the user's, and is not run."""
    write(tmp_path, "print('run!')", "tensorboard.py")
    outcome = watched(tmp_path, write(tmp_path, HEALTHY))
    assert 0 == outcome.code
    assert "run!" not in outcome.stdout
    assert 1 == outcome.stderr.count("nothing more is written for TensorBoard")


def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    """Neither rows, nor at its end: the file is its parent's."""
    scope = gradscope.watch(log_dir=tmp_path)
    train(3)
    file = only_run(tmp_path) / EVENTS
    before = file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has threads
        child = os.fork()
    if child == 0:
        try:
            train(3)
            scope.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert before == file.read_bytes()
    scope.close()
    assert before < file.read_bytes()


IMPORTS = """
import random, sys, warnings
random.seed(0)
state, filters = random.getstate(), list(warnings.filters)
import gradscope
from gradscope import watch
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorboard", "google")]
filters = list(warnings.filters)
scope = watch(log_dir="runs")
assert "tensorboard" in sys.modules
assert "tensorflow" not in sys.modules and "torch.utils.tensorboard" not in sys.modules
scope.close()
assert state == random.getstate() and filters == list(warnings.filters)
"""


def test_import_is_late_and_leaves_no_trace(tmp_path: Path) -> None:
    """tensorboard comes with the first file, not with gradscope; no random number is drawn, nothing is printed."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=tmp_path, env=environment(), capture_output=True)
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


# -- in the browser -------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture
def page_of() -> Iterator[Any]:
    """`page_of(logdir)` starts TensorBoard and returns a browser's page, and TensorBoard's address."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        servers: list[subprocess.Popen[bytes]] = []

        def open_page(logdir: Path) -> tuple[Any, str]:
            address = f"127.0.0.1:{free_port()}"
            command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
            command += ["--port", address.partition(":")[2]]
            servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            wait_for(f"http://{address}/data/runs")
            return browser.new_page(viewport={"width": 1500, "height": 1100}), f"http://{address}"

        yield open_page
        browser.close()
        for server in servers:
            server.terminate()
            server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(address: str) -> None:
    """Until the server has read the run."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if len(answer.read()) > 2:
                    return
        except OSError:
            pass
        assert time.monotonic() < deadline, "TensorBoard does not answer"
        time.sleep(0.3)


def test_in_the_browser(page_of: Any, tmp_path: Path) -> None:
    """Somebody opens TensorBoard: the curves are on the scalar page, the findings on the text page."""
    watched(tmp_path, write(tmp_path, SICK))
    page, address = page_of(tmp_path / "runs")
    page.goto(f"{address}/#scalars")
    for tag in ("gradscope/loss", "gradscope/lr", "gradscope/gradient norm"):
        page.get_by_text(tag, exact=True).first.wait_for(timeout=30_000)
    page.get_by_text("gradscope parameters", exact=True).first.wait_for(timeout=30_000)
    page.goto(f"{address}/#text")
    page.get_by_text("train.py:11: error GS101 missing-zero-grad").first.wait_for(timeout=30_000)
    page.get_by_text("call optimizer.zero_grad() before line 11").first.wait_for(timeout=30_000)
