"""The TensorBoard reporter on hand-made rows and findings: tags, points, bounds, markdown."""
from __future__ import annotations

import html
import math
import re
import time
import warnings
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from gradscope.events import GradState, Site
from gradscope.findings import Advice, Finding
from gradscope.record.record import Meta, Parameter, Wiring
from gradscope.record.table import POINTS, OptimizerTable
from gradscope.reporters import markdown
from gradscope.reporters.event_file import EVENTS, EventFile
from gradscope.reporters.report import Report
from gradscope.reporters.tags import MAX_MODULES, MAX_OPTIMIZERS, MAX_PARAMETERS, modules_of
from gradscope.reporters.tensorboard import TensorBoard
from tests.curves import curve, read, scalar_tags, texts

NAN, INF = float("nan"), float("inf")


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


def enter(board: TensorBoard, table: OptimizerTable, scalars: Any, arrays: Any) -> None:
    """Hand one finished row to the reporter."""
    board.rows(table, {name: np.array([value]) for name, value in scalars.items()}, [(0, arrays)] if arrays else [])


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
        enter(board, one, row(i, loss=2.0 - i / 4, norm=5.0, lr=(0.5,)), arrays(i, [3.0, 4.0, 0.0]))
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
    enter(board, table(), row(0), None)
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
        enter(board, one, row(i, loss), arrays(i, [1.0] * 4) if i % 8 == 0 else None)
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


def test_rows_taken_in_together_make_the_same_points(tmp_path: Path) -> None:
    """Measured ones among them or not."""
    one, other, said, size = tmp_path / "one", tmp_path / "other", [], 37
    boards = []
    for folder in (one, other):
        folder.mkdir()
        boards.append(TensorBoard(lambda folder=folder: EventFile(folder), said.append))  # type: ignore[misc]
    rows = [row(i, loss=float(i % 5), norm=float(i) if i % 10 == 0 else NAN) for i in range(400)]
    measured = {i: arrays(i, [float(i), 1.0, 2.0]) for i in range(0, 400, 10)}
    for i, scalars in enumerate(rows):
        enter(boards[0], table(), scalars, measured.get(i))
    for start in range(0, 400, size):
        part = rows[start : start + size]
        columns = {name: np.array([scalars[name] for scalars in part]) for name in part[0]}
        boards[1].rows(table(), columns, [(i - start, m) for i, m in measured.items() if start <= i < start + size])
    for board in boards:
        board.close([(0,)], report(rows=400))
    for tag in scalar_tags(one):
        assert pytest.approx(curve(one, tag)) == curve(other, tag), tag
    assert not said and scalar_tags(one) == scalar_tags(other)


@pytest.mark.parametrize("odd", [NAN, INF, -INF, 1e300])
def test_nothing_non_finite_is_dropped(odd: float, board: TensorBoard, tmp_path: Path) -> None:
    """NaN and infinite losses and norms are points (TensorBoard draws triangles), also inside a mean."""
    one = table()
    for i in range(400):
        loss, norms = (odd, [odd, 1.0, 1.0]) if i in (3, 333) else (1.0, [1.0] * 3)
        with np.errstate(over="ignore"):
            enter(board, one, row(i, loss, abs(loss)), arrays(i, norms))
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
    enter(board, one, no_loss, arrays(0, [NAN, NAN, 2.0], [False, False, True]))
    enter(board, one, row(1, 4.0, NAN, lr=(NAN,)), None)
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
        enter(board, one, row(i, loss_scale=scale), arrays(i, [1.0, 0.0, 0.0], made=[made, 0.0, 0.0]))
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
            enter(board, one, row(3 * i + number, float(number), lr=rates), arrays(i, [1.0] * 3))
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
        enter(board, table(number=number, variable=f"opt{number}"), row(0, loss, joint_loss=9.0), None)
    board.close([(0, 1)], report())
    assert ["gradscope/loss"] == [tag for tag in scalar_tags(tmp_path) if "loss" in tag]
    assert {0: pytest.approx(shown, nan_ok=True)} == curve(tmp_path, "gradscope/loss")


def test_tags_stay(board: TensorBoard, tmp_path: Path) -> None:
    """A second optimizer, a group and parameters that come later rename nothing that has been shown."""
    one = table(("a.weight",), variable="first")
    enter(board, one, row(0), arrays(0, [1.0]))
    board.flush([(0,)], report())
    one.widen((*one.parameters, Parameter("b.weight", (2,), 1)), 2)
    other = table(("c.weight",), 1, "second")
    for i in range(1, 4):
        enter(board, one, row(i, lr=(0.1, 0.2)), arrays(i, [1.0, 2.0]))
        enter(board, other, row(i), arrays(i, [3.0]))
    board.close([(0,), (1,)], report(rows=4))
    assert set(range(4)) == set(curve(tmp_path, "gradscope/loss")) == set(curve(tmp_path, "gradscope/lr"))
    assert {1, 2, 3} == set(curve(tmp_path, "gradscope/loss/second")) == set(curve(tmp_path, "gradscope/lr/group 1"))
    assert {1, 2, 3} == set(curve(tmp_path, "gradscope parameters/b.weight"))


def test_big_nets_are_bounded(board: TensorBoard, tmp_path: Path) -> None:
    """Of many parameters and modules some, evenly spread; a text says how many more there are."""
    names = tuple(f"layers.{i}.{kind}" for i in range(1000) for kind in ("weight", "bias"))
    enter(board, table(names), row(0), arrays(0, [1.0] * len(names)))
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
        enter(board, table(number=number), row(number), arrays(number, [1.0] * 3))
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
    enter(board, table(), row(0), None)
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
    enter(board, table(), row(0), None)
    board.close([(0,)], report(rows=7))
    assert ["## no errors, no warnings in 7 steps\n"] == texts(tmp_path)
