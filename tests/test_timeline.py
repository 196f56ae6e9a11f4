"""The timeline of one step: the data behind it, the table a person reads, and the ways to ask for it."""
from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from torch import nn

import gradscope
from gradscope.errors import GradscopeError, UsageError
from gradscope.events import GradState, Phase, Point, Site
from gradscope.record.record import OptimizerRecord, Record, Wiring
from gradscope.reporters import timeline
from gradscope.reporters.grid import fit_name
from gradscope.reporters.grouping import group
from gradscope.reporters.moments import Moment, moment_of
from tests.forks import cli, watched
from tests.records import HEALTHY, optimizer, record
from tests.shell import HEALTHY as HEALTHY_SCRIPT
from tests.shell import SICK as SICK_SCRIPT
from tests.shell import write

Golden = Callable[[str], None]
Picture = Mapping[Point, tuple[GradState, float]]
CNN = [f"model.{layer}.{kind}" for layer in (0, 2, 4, 7, 8) for kind in ("weight", "bias")]
NOTHING, NAN = GradState.NONE, float("nan")


def normal(norm: float, before: float | None = None) -> Picture:
    """One gradient of a healthy row; `before` is its norm in the row before."""
    at_first = (NOTHING, NAN) if before is None else (GradState.STALE, before)
    made = (GradState.FRESH, norm)
    return dict(zip(Point, (at_first, (NOTHING, NAN), made, made, (GradState.STALE, norm))))


def uncleared(norm: float, first: bool) -> Picture:
    """One gradient of a row without zero_grad."""
    unseen, state = (GradState.NOT_SEEN, NAN), GradState.FRESH if first else GradState.STALE
    return dict(zip(Point, (unseen, unseen, (state, norm), (state, norm), (GradState.STALE, norm))))


def nothing() -> Picture:
    """No gradient, all along."""
    return {point: (NOTHING, NAN) for point in Point}


def measured(rows: Mapping[int, Sequence[Picture]], names: Sequence[str], steps: int = 0, **changes: Any) -> Any:
    """An optimizer whose `rows` are measured, each with a picture per parameter; it made `steps` steps."""
    numbers = sorted(rows)
    shapes = [(1,)] * len(names)
    made = optimizer((HEALTHY,) * (steps or numbers[-1] + 1), names, shapes=shapes)
    empty = np.zeros((len(rows), len(Point), len(names)))
    state, norm = empty.astype(np.uint8), empty.astype(np.float32)
    for i, number in enumerate(numbers):
        for j, picture in enumerate(rows[number]):
            for point, (what, value) in picture.items():
                state[i, point, j], norm[i, point, j] = what, value
    arrays = {**made.arrays, "row": np.array(numbers, np.int64), "state": state, "norm": norm}
    return dataclasses.replace(made, **{"arrays": arrays, **changes})


def scalars(made: OptimizerRecord, **columns: Any) -> OptimizerRecord:
    """The same with other scalars in all its rows."""
    changed = {name: np.full_like(made.scalars[name], value) for name, value in columns.items()}
    return dataclasses.replace(made, scalars={**made.scalars, **changed})


def healthy(names: Sequence[str] = CNN, steps: int = 2) -> Record:
    """Norms that differ from parameter to parameter."""
    norms = [3.0 / (i + 1) ** 2 for i in range(len(names))]
    rows = {row: [normal(n, n * 1.1 if row else None) for n in norms] for row in range(steps)}
    return record(measured(rows, names), status="finished")


def texts(shown: str, name: str) -> list[str]:
    """The words of a parameter's line, its name left out."""
    return next(line for line in shown.splitlines() if line.startswith(name)).split()[1:]


# -- what it looks like ---------------------------------------------------------------------------------------------


SOURCE = """\
for images, targets in loader:
    optimizer.zero_grad()
    loss = loss_fn(model(images), targets)
    loss.backward()
    optimizer.step()
"""


def test_timeline_of_a_normal_step(golden: Golden, tmp_path: Path) -> None:
    """A small CNN: used, None, numbers, used; where each call stands; a legend of what is there."""
    sites = tuple(Site(str(tmp_path / write(tmp_path, SOURCE)), line) for line in (2, 4, 5))
    golden(timeline.render(dataclasses.replace(healthy(), sites=sites), width=90, base=tmp_path))


def test_timeline_without_zero_grad(golden: Golden) -> None:
    """Step 0 is as it should be, but that zero_grad is not called; step 1 uses old gradients."""
    rows = {
        0: [uncleared(n, True) for n in (0.05, 1.25, 140.0)],
        1: [uncleared(n, False) for n in (0.11, 2.375, 293.0)],
    }
    sick = record(scalars(measured(rows, ["0.weight", "0.bias", "2.weight"]), zero_grad_site=-1))
    golden(timeline.render(sick, 0, 90) + "\n" + timeline.render(sick, 1, 90))


def blocks(layers: int, frozen: int) -> tuple[list[str], list[Picture]]:
    """A transformer's names, the first few of its blocks frozen, one block half frozen."""
    parts = ["attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias", "mlp.up.weight", "mlp.up.bias",
             "mlp.down.weight", "mlp.down.bias"]  # fmt: skip
    names = ["embed.weight", *(f"blocks.{i}.{part}" for i in range(layers) for part in parts), "head.weight"]
    pictures = [nothing() if 0 < i <= frozen else normal(0.01 * (1 + i % 7), 0.02) for i in range(len(names))]
    return names, pictures


def test_timeline_of_1000_parameters(golden: Golden) -> None:
    """By module, so that it fits a screen; mixed states are counted."""
    names, pictures = blocks(125, 21)
    assert len(names) > 1000
    shown = timeline.render(record(measured({0: pictures}, names)), width=100, hint="--all shows each")
    assert len(shown.splitlines()) < 60
    golden(shown)


def test_timeline_of_long_and_chinese_names(golden: Golden) -> None:
    """80 columns: long names lose their middle, wide signs count double, nothing wraps."""
    names = ["模型.编码器.注意力.权重", "模型.解码器.非常长的模块名称.另一个非常长的模块名称.权重"]
    names += [f"a_very_long_module_name.another_very_long_module_name.{i}.self_attention.weight" for i in (9, 10)]
    norms = (1.2e-7, 3.4e12, 0.5, 12.0)
    shown = timeline.render(record(measured({0: [normal(n, n) for n in norms]}, names)), width=80)
    assert max(map(cell_len, shown.splitlines())) <= 80
    golden(shown)


def test_timeline_of_several_optimizers(golden: Golden) -> None:
    """One table each where they stepped together; one that was not measured there is named with its next step."""
    encoder = measured({4: [normal(0.5, 0.4)]}, ["encoder.weight"], number=0, variable="opt_e")
    decoder = measured({4: [normal(0.25, 0.2)]}, ["decoder.weight"], number=1, kind="AdamW", variable="opt_d")
    critic = measured({3: [normal(1.0)]}, ["critic.weight"], steps=5, number=2, kind="Adam", variable="opt_c")
    golden(timeline.render(record(encoder, scalars(decoder, backwards=3), critic), width=90))


def test_optimizers_that_share_a_head_share_a_table() -> None:
    """One optimizer a layer, stepping inside backward: one table, not one a layer; another lr is another table."""
    many = [measured({0: [normal(1.0 + i)]}, [f"{i}.weight"], number=i) for i in range(60)]
    apart = scalars(measured({0: [normal(0.5)]}, ["x.weight"], number=60), lr=0.5, loss=3.0)
    shared, own = moment_of(record(*many, apart)).optimizers
    assert (shared.numbers, shared.parameters, own.numbers) == (tuple(range(60)), 60, (60,))
    assert len(shared.lines) < 40
    shown = timeline.render(record(*many, apart))
    assert "60 x optimizer (SGD) · lr 0.1 · loss 2\n" in shown
    assert "\noptimizer (SGD) · lr 0.5 · loss 3\n" in shown


def test_optimizers_elsewhere_are_counted() -> None:
    """Many folds, many optimizers: the first few, then how many more."""
    made = [measured({i: [normal(1.0)]}, ["w"], number=i) for i in range(9)]
    others = [scalars(o, row=i) for i, o in enumerate(made)]
    assert "Did not step here: optimizer (see step 0), " in timeline.render(record(*others), width=200)
    assert "(see step 5), and 2 more.\n" in timeline.render(record(*others), width=200)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("parameters", [1, 10, 41, 1000])
def test_nothing_is_wider_than_the_terminal(width: int, parameters: int) -> None:
    """Whatever the names and the numbers: words become marks before names become unreadable."""
    pictures = [uncleared(1.5e18 * (i + 1), False) if i % 3 else normal(1.5e-20, 2.5e17) for i in range(parameters)]
    names = [f"encoder_of_everything.block_{i}.self_attention.weight" for i in range(parameters)]
    for every in (False, True):
        shown = timeline.render(record(measured({0: pictures}, names)), width=width, every_parameter=every)
        assert max(map(cell_len, shown.splitlines())) <= width
        assert all(line == line.rstrip() for line in shown.splitlines())


def test_words_become_marks_where_there_is_no_room() -> None:
    """The legend explains the marks, too."""
    long = ["encoder.layers.0.self_attention.weight"]
    shown = timeline.render(record(measured({0: [normal(1.5e18, 1.5e18)]}, long)), width=70)
    assert "1.50e+18 *" in shown and "*: a step has used" in shown and " used" not in shown.split("numbers:")[0]


def test_colour_is_asked_for() -> None:
    """A pipe gets plain text, a terminal gets colour, and both say the same."""
    plain, coloured = timeline.render(healthy()), timeline.render(healthy(), color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured and "0.750" in coloured


def test_names_are_shown_and_not_obeyed() -> None:
    """Markup, escape codes and line breaks in a name stay in its cell."""
    shown = timeline.render(record(measured({0: [normal(1.0)]}, ["[bold]x[/]\x1b[31m\n{y}"])))
    assert "[bold]x[/]\ufffd[31m\ufffd{y}" in shown and "\x1b" not in shown


def test_the_users_own_lines_are_quoted(tmp_path: Path) -> None:
    """Paths are relative; a line is quoted while it still holds the call, never one that took its place since."""
    source = tmp_path / "train.py"
    source.write_text("\n" * 9 + "opt.zero_grad()\n\n# loss.forward()\nopt.step()\n")
    sites = tuple(Site(str(source), line) for line in (10, 12, 13))
    shown = timeline.render(dataclasses.replace(healthy(), sites=sites), base=tmp_path)
    assert "zero_grad()  train.py:10  opt.zero_grad()\n" in shown
    assert "backward()   train.py:12\n" in shown
    assert "step()       train.py:13  opt.step()\n" in shown


# -- what is in it ----------------------------------------------------------------------------------------------------


def test_states_are_told_apart() -> None:
    """None is not zero is not "not seen"; accumulated, old and used each have their word, NaN is a number's place."""
    pictures: list[Picture] = [
        {p: (GradState.ZERO, 0.0) for p in Point},
        {p: (GradState.ACCUMULATED, 0.5) for p in Point},
        {p: (GradState.FRESH, NAN) for p in Point},
        {p: (GradState.STALE, 2.0) for p in Point},
        {p: (GradState.NOT_SEEN, NAN) for p in Point},
    ]
    shown = timeline.render(record(measured({0: pictures}, ["zero", "sum", "broken", "late", "unseen"])), width=120)
    assert texts(shown, "zero") == ["0"] * 5
    assert texts(shown, "sum") == ["0.500", "sum"] * 5
    assert texts(shown, "broken") == ["nan"] * 5
    assert texts(shown, "late") == ["2.00", "used", "2.00", "used", "2.00", "old", "2.00", "old", "2.00", "used"]
    assert texts(shown, "unseen") == ["-"] * 5
    assert all(f"{word}: " in shown for word in ("0", "used", "old", "sum", "-")) and "None: " not in shown


def test_a_group_is_the_root_of_the_sum_of_squares() -> None:
    """3 and 4 make 5; what has no gradient is counted and not added."""
    names = ["body.0.weight", "body.0.bias", "body.0.scale", *(f"head.{i}.weight" for i in range(2))]
    pictures = [normal(3.0), normal(4.0), nothing(), normal(1.0), nothing()]
    (made,) = moment_of(record(measured({0: pictures}, names)), most_lines=3).optimizers
    body = made.lines[0]
    assert (body.name, body.parameters) == ("body.0", 3)
    cell = body.cells[Point.BEFORE_STEP]
    assert cell.norm == 5.0
    assert cell.counts == {GradState.NONE: 1, GradState.FRESH: 2}
    assert cell.state is None


@pytest.mark.parametrize(
    "names, most, lines",
    [
        (["a.w", "a.b", "c.w"], 3, ["a.w", "a.b", "c.w"]),
        (["a.w", "a.b", "c.w"], 2, ["a", "c.w"]),
        (["a.x.w", "a.x.b", "a.y.w", "a.y.b", "s"], 4, ["a.x", "a.y", "s"]),
        (["e.w=h.w", "e.b", "h.b"], 2, ["e", "h.b"]),
        ([f"net.{i}.w" for i in range(100)], 20, [f"net.{i} … {i + 5}" for i in range(0, 96, 6)] + ["net.96 … 99"]),
        ([f"opt0.group0.{i}" for i in range(16)], 9, [f"opt0.group0.{i} … {i + 1}" for i in range(0, 16, 2)]),
        ([str(i) for i in range(100)], 50, [f"{i} … {i + 2}" for i in range(0, 99, 3)] + ["99"]),
    ],
)
def test_grouping(names: list[str], most: int, lines: list[str]) -> None:
    """The deepest level of modules that fits; neighbours together where that would leave next to nothing."""
    found = group(names, most)
    assert [label for label, _ in found] == lines
    assert sorted(i for _, members in found for i in members) == list(range(len(names)))


def test_what_zero_grad_passed_by_keeps_its_number() -> None:
    """It is not measured a second time, and still is what it was."""
    picture = {**normal(2.0, 1.0), Point.AFTER_ZERO_GRAD: (GradState.STALE, NAN)}
    (made,) = moment_of(record(measured({0: [picture]}, ["w"]))).optimizers
    assert made.lines[0].cells[Point.AFTER_ZERO_GRAD].norm == 1.0


def test_zero_grad_behind_backward_is_shown_behind_it() -> None:
    """The columns are in the order of the calls: the loop that clears its gradients before the step shows it."""
    made, none = (GradState.FRESH, 1.0), (NOTHING, NAN)
    sick = measured({0: [dict(zip(Point, (made, none, made, none, none)))]}, ["w"])
    sick = scalars(sick, wiring=Wiring.STATISTICS | Wiring.CLEARED | Wiring.ALL_MISSING)
    (shown,) = moment_of(record(sick)).optimizers
    assert [call.phase for call in shown.head.calls] == [Phase.BACKWARD, Phase.ZERO_GRAD, Phase.STEP]
    assert texts(timeline.render(record(sick)), "w") == ["1.00", "1.00", "None", "None", "None"]


def test_calls_that_are_no_longer_known() -> None:
    """Where the record keeps a step's gradients and not its calls, they are not said to be missing."""
    made = healthy(["w"]).optimizers[0]
    thinned = dataclasses.replace(made, scalars={name: column[:1] for name, column in made.scalars.items()})
    shown = timeline.render(record(thinned), 1)
    assert shown.startswith("step 1 · no loss known\n") and shown.count("(no longer in the record)\n") == 3


def test_losses_and_rates() -> None:
    """An unknown loss is not a NaN loss; groups that agree are told once."""
    many = healthy(["w"]).optimizers[0]
    many = dataclasses.replace(many, scalars={**many.scalars, "lr": np.array([[0.1, 0.01]] * 2)})
    assert "lr 0.1, 0.01 (groups 0-1)" in timeline.render(record(many))
    same = dataclasses.replace(many, scalars={**many.scalars, "lr": np.full((2, 9), 0.1)})
    assert "lr 0.1 in all 9 groups" in timeline.render(record(same))
    assert "· loss nan" in timeline.render(record(scalars(many, loss=NAN)))
    assert "· no loss known" in timeline.render(record(scalars(many, wiring=HEALTHY | Wiring.NO_LOSS, loss=NAN)))


# -- which step -------------------------------------------------------------------------------------------------------


def sampled() -> Record:
    """Steps 0-3, 8, 12, 16 of 20 are measured."""
    made = measured({row: [normal(1.0)] for row in (0, 1, 2, 3, 8, 12, 16)}, ["w"], steps=20)
    return record(made, status="finished")


@pytest.mark.parametrize(
    "asked, shown", [(None, 16), (0, 0), (2, 2), (5, 3), (6, 8), (7, 8), (8, 8), (10, 8), (19, 16)]
)
def test_the_nearest_measured_step_is_shown(asked: int | None, shown: int) -> None:
    """The newest if none is asked for; else that one, or the one nearest to it (the earlier of two as near)."""
    assert moment_of(sampled(), asked).step == shown
    text = timeline.render(sampled(), asked)
    assert text.startswith(f"step {shown} ")
    assert ("was not measured" in text) is (asked is not None and asked != shown)
    if asked is not None and asked != shown:
        assert f"Step {asked} was not measured: this is the nearest measured one " in text
        assert f"one {'before' if shown < asked else 'after'} it." in text
    assert "the run's steps 0-19; measured: 0-3, 8, 12, 16 (7 of 20)" in text


@pytest.mark.parametrize(
    "asked, around", [(None, (12, None)), (0, (None, 1)), (3, (2, 8)), (6, (3, 12)), (7, (3, 12)), (17, (12, None))]
)
def test_the_measured_steps_around_the_shown_one(asked: int | None, around: Any) -> None:
    """Those next to the step that is shown, not to the one that was asked for."""
    assert moment_of(sampled(), asked).around == around


def test_the_first_measured_step_may_lie_behind() -> None:
    """Where nothing before is left, the first one after is shown."""
    made = record(measured({7: [normal(1.0)], 9: [normal(1.0)]}, ["w"]))
    assert moment_of(made, 3).step == 7
    assert "Step 3 was not measured: this is the nearest measured one after it." in timeline.render(made, 3)


def test_an_unmeasured_step_is_looked_for_at_its_own_optimizer() -> None:
    """A GAN's step 6 is the discriminator's: what stands for it is one of the discriminator's."""
    even, odd = np.arange(0, 8, 2), np.arange(1, 8, 2)
    first = measured({0: [normal(1.0)], 4: [normal(1.0)]}, ["d"], steps=4)
    second = measured({1: [normal(1.0)], 5: [normal(1.0)]}, ["g"], steps=4, number=1)
    first = dataclasses.replace(first, scalars={**first.scalars, "row": even})
    second = dataclasses.replace(second, scalars={**second.scalars, "row": odd})
    made: Moment = moment_of(record(first, second), 6)
    assert (made.step, [o.numbers for o in made.optimizers]) == (4, [(0,)])
    assert [(o.number, o.stepped, o.nearest) for o in made.others] == [(1, False, 5)]


@pytest.mark.parametrize(
    "steps, told",
    [
        ([0], "0"),
        (range(32), "0-31"),
        ([*range(32), 40, 48, 56, 64], "0-31, 40, 48 ... 64"),
        ([0, 1, 5], "0, 1, 5"),
        ([0, 3, 4, 9, 11, 20, 22, 40, 90], "0, 3, 4, 9, 11 ... 90"),
    ],
)
def test_ranges(steps: Sequence[int], told: str) -> None:
    """Steps as people write them."""
    assert timeline.ranges(list(steps)) == told


@pytest.mark.parametrize(
    "made, step, error, told",
    [
        (record(), None, GradscopeError, "no optimizer step was seen"),
        (record(), 3, GradscopeError, "no optimizer step was seen"),
        (record(optimizer()), None, GradscopeError, "no step of this record holds measured gradients"),
        (record(optimizer()), -1, UsageError, "there is no step -1: steps are numbered from 0"),
        (sampled(), "3", UsageError, "a step is a whole number, not '3'"),
        (sampled(), 2.5, UsageError, "a step is a whole number, not 2.5"),
        (sampled(), 20, GradscopeError, "there is no step 20: the run's steps are 0-19"),
        (healthy(steps=1), 1, GradscopeError, "there is no step 1: the run's only step is 0"),
    ],
)
def test_steps_that_are_not_there(made: Record, step: Any, error: type[Exception], told: str) -> None:
    """One sentence that says what there is."""
    with pytest.raises(error, match=told):
        timeline.render(made, step)


def test_long_names_keep_their_numbers() -> None:
    """Two layers of the same kind stay two names; what has no dots is cut in the middle."""
    names = [f"a_very_long_module_name.layers.{i}.self_attention.weight" for i in (9, 10)]
    short = [fit_name(name, 30) for name in names]
    assert short[0] != short[1] and all(cell_len(name) <= 30 for name in short)
    assert fit_name("编码器编码器编码器编码器", 9) == "编码…码器"
    assert fit_name("short.name", 30) == "short.name"


# -- the ways to ask for it -------------------------------------------------------------------------------------------


def test_a_real_loop_through_the_scope() -> None:
    """None becomes a number, the number is used, zero_grad makes it None again; random numbers stay as they are."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, sgd) as scope:
        with pytest.raises(GradscopeError, match="no optimizer step was seen"):
            scope.timeline()
        for _ in range(2):
            sgd.zero_grad()
            model(torch.ones(2, 3)).square().mean().backward()
            sgd.step()
        norm = model[0].weight.grad.norm().item()
        state = random.getstate()
        first, newest = scope.timeline(0), scope.timeline()
        assert newest == scope.timeline(1)
        assert random.getstate() == state
        with pytest.raises(UsageError):
            scope.timeline(-1)
    assert texts(first, "0.weight")[:2] == ["None", "None"]
    number = timeline.number_text(norm)
    assert texts(newest, "0.weight")[1:] == ["used", "None", number, number, number, "used"]
    assert newest.startswith("step 1 · loss ")
    assert "sgd (SGD) · lr 0.1\n" in newest
    assert "sgd.zero_grad()\n" in newest and "model(torch.ones(2, 3)).square().mean().backward()\n" in newest


def test_a_scope_shows_its_own_optimizers_only() -> None:
    """`watch(model, optimizer)` shows that optimizer, inside a scope that watches everything, too."""
    models = [nn.Linear(2, 1, bias=False) for _ in range(2)]
    optimizers = [torch.optim.SGD(models[0].parameters(), lr=0.1), torch.optim.Adam(models[1].parameters(), lr=0.2)]
    with gradscope.watch() as everything, gradscope.watch(models[1], optimizers[1]) as one:
        for model, stepping in zip(models, optimizers):
            model(torch.ones(1, 2)).sum().backward()
            stepping.step()
        assert "Adam" in one.timeline() and "SGD" not in one.timeline()
        assert "SGD" in everything.timeline(0)
        assert "Did not step here: " in everything.timeline() and "(see step 0)." in everything.timeline()
        assert "Step 0 was not measured" in one.timeline(0)


def test_the_command(tmp_path: Path) -> None:
    """`gradscope timeline RUN --step N` in a process of its own: the same table, relative paths, no colour."""
    assert watched(tmp_path, write(tmp_path, HEALTHY_SCRIPT)).code == 0
    first, newest = cli(tmp_path, "timeline", "runs", "--step", "0"), cli(tmp_path, "timeline", "runs")
    assert (first.code, first.stderr, newest.code) == (0, "", 0)
    assert first.stdout.startswith("step 0 · loss ")
    assert newest.stdout.startswith("step 11 · loss ")
    assert texts(first.stdout, "weight")[:2] == ["None", "None"]
    assert "zero_grad()  train.py:11  optimizer.zero_grad()" in first.stdout
    assert "\x1b" not in first.stdout
    beyond = cli(tmp_path, "timeline", "runs", "--step", "12")
    negative = cli(tmp_path, "timeline", "runs", "--step", "-1")
    assert (beyond.code, negative.code) == (1, 2)
    assert beyond.stderr == "gradscope: error: there is no step 12: the run's steps are 0-11\n"
    assert negative.stderr == "gradscope: error: there is no step -1: steps are numbered from 0\n"


def test_the_command_shows_the_missing_call(tmp_path: Path) -> None:
    """Without zero_grad the newest step says: not called, and old."""
    assert watched(tmp_path, write(tmp_path, SICK_SCRIPT)).code == 0
    shown = cli(tmp_path, "timeline", "runs").stdout
    assert "zero_grad()  not called\n" in shown
    assert texts(shown, "weight")[:2] == ["-", "-"] and texts(shown, "weight").count("old") == 2


def test_folders_without_a_readable_run(tmp_path: Path) -> None:
    """Missing, empty, damaged: one sentence each, never a traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "meta.json").write_text("{")
    for folder, told in (("missing", "no run folder"), ("empty", "no gradscope record"), ("damaged", "damaged")):
        outcome = cli(tmp_path, "timeline", folder)
        assert outcome.code == 1
        assert outcome.stderr.startswith("gradscope: error: ") and outcome.stderr.count("\n") == 1
        assert told in outcome.stderr
