"""GS901: the rule on hand-made records, and each way by which a validation loss comes into one."""
from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import gradscope
from gradscope.facts.loss import LossFunction
from gradscope.findings import Finding
from gradscope.record.blocks import Blocks
from gradscope.record.metrics import LIMIT, NONE_LOGGED, MetricSums, names_validation_loss
from gradscope.record.reader import read_record
from gradscope.record.record import Record
from gradscope.rules.generalization.overfitting import Overfitting
from tests.curves import curve, only_run
from tests.forks import cli, watched
from tests.records import NO_METRIC, metric, optimizer, record
from tests.shell import write

RULE = Overfitting()
FALLING = np.linspace(2, 0.2, 200)  # the training loss of 20 epochs
RISING = [2.0, 1.2, 0.8, 0.6, 0.5, *np.linspace(0.52, 0.8, 15)]  # the validation loss of these
ALONE = LossFunction(0, 0, "cross-entropy", 10, "cross entropy")


def found(*metrics: Any, losses: Any = FALLING, facts: Any = (), **options: Any) -> list[Finding]:
    return list(RULE.check(record(optimizer(losses=losses, **options), metrics=metrics, facts=facts)))


# -- the rule ----------------------------------------------------------------------------------------------------------


def test_says_where_to_stop() -> None:
    """With the numbers, for people and for machines, at the line that handed them in."""
    (finding,) = found(metric(RISING))
    assert ("GS901", "warning", 13) == (finding.code, finding.severity, finding.where and finding.where.line)
    assert (49, 199) == finding.steps
    text = "val_loss has risen from 0.5 (its best, at step 49) to 0.78 in 15 evaluations, while the training loss fell"
    assert finding.text.startswith(text)
    stop = finding.advice[0]
    assert ("stop-at", 49, 0.5) == (stop.action, stop.values["step"], stop.values["value"])
    assert "stop at step 49" in stop.text


def test_quiet_without_metrics() -> None:
    """And says that there was none."""
    assert [] == found()
    assert NONE_LOGGED == RULE.not_judged(record(optimizer()))
    assert NONE_LOGGED == RULE.not_judged(record(optimizer(), metrics=[metric(RISING, name="accuracy")]))
    assert "" == RULE.not_judged(record(optimizer(), metrics=[metric(RISING)]))


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.5],
        [0.5, 0.6, 0.7, 0.8],
        [float("nan")] * 20,
        [*RISING[:-1], float("inf")][:5],
        [0.0] * 20,
        [1.0] * 20,
        list(np.linspace(2, 0.3, 20)),
    ],
    ids=["none", "one", "four", "nan", "inf", "zeros", "flat", "falling"],
)
def test_quiet_where_nothing_rises(values: list[float]) -> None:
    """Nothing, too few, no numbers, no rise."""
    assert [] == found(metric(values))


@pytest.mark.parametrize("last, count", [(0.575, 0), (0.6, 1)])
def test_how_far_it_must_rise(last: float, count: int) -> None:
    """`margin` of the best level: the lowest of the newest three, 0.5 * 1.15."""
    values = [2.0, 1.2, 0.8, 0.6, 0.5, *np.linspace(0.51, last, 15)]
    assert count == len(found(metric(values)))


@pytest.mark.parametrize("start, count", [(5.0, 0), (3.0, 1)])
def test_how_much_of_the_fall_it_must_lose(start: float, count: int) -> None:
    """`of_fall` of what was gained: 0.2 of a fall from 4.5 is little."""
    values = [start, 1.2, 0.8, 0.6, 0.5, *np.linspace(0.51, 0.735, 15)]
    assert count == len(found(metric(values)))


@pytest.mark.parametrize("evaluations, count", [(4, 0), (5, 1)])
def test_how_many_evaluations_it_takes(evaluations: int, count: int) -> None:
    """`patience` since the best one."""
    values = [0.9, 0.5, *(0.5 + 0.1 * np.arange(1, evaluations + 1))]
    losses = np.linspace(2, 0.2, 10 * len(values))
    assert count == len(found(metric(values), losses=losses))


@pytest.mark.parametrize("before, count", [(14, 0), (10, 1)])
def test_how_long_ago_the_best_must_be(before: int, count: int) -> None:
    """`share` of all: a loop that waits a while for a better one, and then stops, is well handled."""
    values = [*np.linspace(1.5, 0.5, before), *(0.5 + 0.05 * np.arange(1, 9))]
    assert count == len(found(metric(values), losses=np.linspace(2, 0.2, 10 * len(values))))


@pytest.mark.parametrize(
    "losses",
    [
        np.linspace(0.2, 2, 200),
        np.full(200, 0.5),
        [*np.linspace(2, 1.0, 50), *np.linspace(1.0, 0.95, 150)],
        [*np.linspace(2, 0.5, 100), *np.linspace(3, 0.2, 100)],
        np.linspace(2, -0.2, 200),
        [float("nan")] * 200,
    ],
    ids=["rising", "flat", "hardly falling", "another task", "below zero", "nan"],
)
def test_quiet_where_the_training_loss_does_not_fall(losses: Any) -> None:
    """What rises together is another rule's; what starts anew is not to be compared."""
    assert [] == found(metric(RISING), losses=losses)


@pytest.mark.parametrize("amplitude, seeds", [(0.1, 40), (0.3, 40)])
def test_quiet_on_noise(amplitude: float, seeds: int) -> None:
    """Of small validation sets, at any length of the run so far."""
    for seed in range(seeds):
        noise = np.random.default_rng(seed).normal(size=60)
        values = (1 + np.exp(-np.arange(60) / 6)) * np.exp(amplitude * noise)
        for count in range(1, 61, 3):
            assert [] == found(metric(values[:count], every=3), losses=np.linspace(2, 0.2, 3 * count)), (seed, count)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_found_under_noise(noise: float) -> None:
    """A steady rise, seen through evaluations that differ; also one value of a single batch after each step."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        slow = np.concatenate([np.linspace(2, 0.5, 40), np.linspace(0.5, 1.2, 160)])
        assert 1 == len(found(metric(slow[9::10] + noise * rng.normal(size=20))))
        assert 1 == len(found(metric(slow + 3 * noise * rng.normal(size=200), every=1)))


def test_quiet_on_a_rise_like_one_that_healed() -> None:
    """Double descent: it rose as much before, and fell again."""
    hill = [2.0, 1.0, 0.6, 0.8, 0.9, 0.95, 0.9, 0.7, 0.5]
    assert [] == found(metric([*hill, *np.linspace(0.52, 0.95, 11)]))
    assert 1 == len(found(metric([*hill, *np.linspace(0.52, 1.5, 11)])))


def test_quiet_after_a_warm_restart() -> None:
    """The best one was at the end of a cycle, at a learning rate of nearly nothing."""
    lr = [*np.linspace(0.1, 0.001, 50), *np.full(150, 0.1)]
    assert [] == found(metric(RISING[:5] + [0.7] * 15), lr=lr)
    values = [2.0, 1.2, 0.8, 0.6, 0.5, 0.7, *np.linspace(0.7, 0.72, 14)]
    assert [] == found(metric(values), lr=lr)


@pytest.mark.parametrize("level, severity", [(0.5, "info"), (0.05, "warning")])
def test_two_validation_losses(level: float, severity: str) -> None:
    """Info where another one is still falling; an unnamed one as low as the training loss is on the training set."""
    falling = np.linspace(2, level, 20)
    name, source = "cross entropy in eval mode", "evaluation"
    metrics = [
        metric(RISING, name=name, source=source, optimizers=(0,)),
        metric(falling, name=name, source=source, optimizers=(0,), number=1),
    ]
    assert [severity] == [f.severity for f in found(*metrics, facts=[ALONE])]
    named = [metric(RISING), metric(falling, name="val_loss_mean", number=1)]
    assert ["info"] == [f.severity for f in found(*named)]


def test_the_surest_source_is_judged() -> None:
    """What the loop calls by name, before what only looks like it."""
    healthy = metric(np.linspace(2, 0.5, 20))
    other = metric(RISING, source="plateau", name="ReduceLROnPlateau's metric", optimizers=(0,), number=1)
    assert [] == found(healthy, other)
    assert 1 == len(found(other))
    few = metric([2.0, 1.0])
    assert 1 == len(found(few, other))


def test_what_the_scheduler_gets_may_be_the_training_loss() -> None:
    """Then there is no validation."""
    losses = np.asarray([2.0, 1.5, 1.0, 0.5, *np.linspace(0.5, 0.9, 16)]).repeat(10)
    plateau = metric(losses[9::10], source="plateau", optimizers=(0,))
    assert [] == found(plateau, losses=losses)


def test_an_evaluation_counts_by_the_same_loss_function_only() -> None:
    """And only where the training loss is nothing but that."""
    seen = metric(RISING, name="cross entropy in eval mode", source="evaluation", optimizers=(0,))
    assert 1 == len(found(seen, facts=[ALONE]))
    assert [] == found(seen, facts=[LossFunction(0, 0, "cross-entropy", 10)])
    assert [] == found(seen, facts=[LossFunction(0, 0, "other", 0, "squared error")])
    assert [] == found(seen)


def two_models(*metrics: Any, apart: bool) -> Record:
    """Two optimizers, one after the other, or in turns."""
    one, other = optimizer(losses=FALLING), optimizer(losses=FALLING, number=1)
    rows = np.arange(400)
    first, second = (rows[:200], rows[200:]) if apart else (rows[::2], rows[1::2])
    models = []
    for model, own in ((one, first), (other, second)):
        blocks = model.losses[0]
        at = {name: own[blocks[name].astype(int)].astype(float) for name in ("row", "newest")}
        losses = {0: Blocks(blocks.size, {**blocks.columns, **at})}
        models.append(replace(model, scalars={**model.scalars, "row": own}, losses=losses))
    return record(*models, metrics=metrics)


def test_folds_are_told_apart_and_turns_are_not() -> None:
    """A name alone does not say which model it is about; the rows do, where only one is trained at a time."""
    both = metric([*np.linspace(2, 0.5, 20), *RISING])
    assert [1] == [f.stream for f in RULE.check(two_models(both, apart=True))]
    turns = two_models(both, apart=False)
    assert [] == list(RULE.check(turns))
    assert "cannot be told" in RULE.not_judged(turns)
    mine = metric([*np.linspace(2, 0.5, 20), *RISING], optimizers=(1,))
    assert "" == RULE.not_judged(two_models(mine, apart=False))


@pytest.mark.parametrize(
    "name, judged",
    [
        ("val_loss", True), ("valid_loss", True), ("validation_loss", True), ("test_loss", True), ("eval_loss", True),
        ("val/loss", True), ("Loss/val", True), ("Loss/Validation", True), ("valLoss", True), ("valloss", True),
        ("loss.test", True), ("val_nll", True), ("epoch/val_loss", True), ("val loss", True), ("val_ce_loss", True),
        ("val_loss_epoch", True), ("dev_loss", True),
        ("loss", False), ("train_loss", False), ("val_acc", False), ("val", False), ("val/kl_loss", False),
        ("train_val_loss", False), ("val_loss_gap", False), ("best_val_loss", False), ("g_loss/val", False),
        ("", False), ("value_loss", False), ("test_accuracy", False), ("loss/train_eval", False),
    ],
)  # fmt: skip
def test_names_of_validation_losses(name: str, judged: bool) -> None:
    """The whole loss on other data, and nothing else."""
    assert judged == names_validation_loss(name)


# -- the series --------------------------------------------------------------------------------------------------------


def test_values_of_one_row_are_one_reading() -> None:
    """A validation batch by batch: their mean."""
    sums = MetricSums(0, "val_loss", "log", (), -1)
    for row, value in ((-1, 3.0), (9, 1.0), (9, 2.0), (9, 6.0), (19, float("nan"))):
        sums.append(row, value)
    seen = sums.view()
    assert ([-1, 9, 19], [1, 3, 1]) == (seen.row.tolist(), seen.count.tolist())
    assert [3.0, 3.0] == seen.value[:2].tolist() and np.isnan(seen.value[2])


def test_any_number_of_values_takes_constant_memory() -> None:
    """Neighbours are merged; their means stay exact."""
    sums = MetricSums(0, "val_loss", "log", (), -1)
    for row in range(10 * LIMIT):
        sums.append(row, float(row))
    seen = sums.view()
    assert len(seen) <= LIMIT and 10 * LIMIT == seen.count.sum()
    assert float(np.average(seen.value, weights=seen.count)) == pytest.approx((10 * LIMIT - 1) / 2)


# -- the ways in -------------------------------------------------------------------------------------------------------

X, Y = torch.linspace(-1, 1, 48).reshape(8, 6), torch.arange(8) % 3


class Loop:
    """Trains for a while, when told."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)

    def train(self, steps: int = 4) -> None:
        self.model.train()
        for _ in range(steps):
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(X), Y).backward()
            self.optimizer.step()


def test_log_takes_what_is_a_number() -> None:
    """Floats, numpy's, tensors with and without gradient, NaN; the row is the newest that has stepped."""
    loop = Loop()
    with gradscope.watch(loop.model, loop.optimizer) as scope:
        scope.log(val_loss=1)
        loop.train()
        for value in (0.5, np.float32(0.25), np.array(2.0), torch.tensor(3.0, requires_grad=True), torch.tensor([4])):
            scope.log(val_loss=value)
            loop.train(20)
        scope.log(val_loss=float("nan"), **{"val/accuracy": True})
        before, *seen = scope.record.metrics
        kept, accuracy = seen
    assert ([-1], [1.0], ()) == (before.row.tolist(), before.value.tolist(), before.optimizers)
    assert [3, 23, 43, 63, 83, 103] == kept.row.tolist() and (0,) == kept.optimizers
    assert [0.5, 0.25, 2.0, 3.0, 4.0] == kept.value[:5].tolist() and np.isnan(kept.value[5])
    assert ("val/accuracy", [1.0]) == (accuracy.name, accuracy.value.tolist())
    assert "test_overfitting.py" in scope.record.sites[kept.site].file


@pytest.mark.parametrize("value", ["0.5", [0.5], None, torch.zeros(3), 1j, torch.zeros(1, device="meta"), object()])
def test_log_of_what_is_no_number_is_said_once(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """In one sentence; the loop goes on."""
    loop = Loop()
    with gradscope.watch(loop.model, loop.optimizer) as scope:
        loop.train()
        scope.log(val_loss=value)
        scope.log(val_loss=value, test_loss=0.5)
    said = capsys.readouterr().err
    assert 1 == said.count("gradscope: scope.log(val_loss=...) takes a number or a tensor with one value, not")
    assert ["test_loss"] == [m.name for m in scope.record.metrics]


def test_log_without_rows_and_after_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Kept, though no step was seen; nothing is taken in when the recording has ended, and that is said."""
    with gradscope.watch() as scope:
        scope.log(val_loss=1.0)
    scope.log(val_loss=2.0)
    scope.log(val_loss=3.0)
    assert [[1.0]] == [m.value.tolist() for m in scope.record.metrics]
    assert 1 == capsys.readouterr().err.count("the recording has ended")


def overfit(scope: gradscope.Scope, loop: Loop) -> None:
    for value in RISING:
        loop.train(10)
        scope.log(val_loss=value, accuracy=1 - value / 4)


def test_a_watched_loop_is_warned(tmp_path: Path) -> None:
    """At the line that hands the loss in; the run folder, read again, holds the same series; TensorBoard shows them."""
    loop = Loop()
    with pytest.warns(gradscope.GeneralizationWarning, match="stop at step 49"):
        with gradscope.watch(loop.model, loop.optimizer, log_dir=tmp_path) as scope:
            overfit(scope, loop)
    assert ["GS901"] == [f.code for f in scope.findings if f.severity == "warning"]
    folder = only_run(tmp_path)
    kept, read = scope.record.metrics, read_record(folder).metrics
    assert [(m.name, m.source, m.optimizers) for m in kept] == [(m.name, m.source, m.optimizers) for m in read]
    assert [m.value.tolist() for m in kept] == [m.value.tolist() for m in read]
    assert [m.row.tolist() for m in kept] == [m.row.tolist() for m in read]
    shown = curve(folder, "gradscope metrics/val_loss")
    assert {9 + 10 * i: pytest.approx(v) for i, v in enumerate(RISING)} == shown
    assert 20 == len(curve(folder, "gradscope metrics/accuracy"))
    again = cli(tmp_path, "report", str(folder), "--rediagnose", "--json", "again.json")
    assert "GS901" in again.stdout
    (finding,) = [f for f in json.loads((tmp_path / "again.json").read_text())["findings"] if f["code"] == "GS901"]
    assert {"action": "stop-at", "step": 49} == {k: finding["advice"][0][k] for k in ("action", "step")}


def series(scope: gradscope.Scope) -> list[tuple[str, list[float], list[float]]]:
    return [(m.source, m.row.tolist(), m.value.round(4).tolist()) for m in scope.record.metrics]


def test_summary_writers_are_read(tmp_path: Path) -> None:
    """By tags that name a validation loss; imported late, given by keyword, several at once."""
    from torch.utils.tensorboard import SummaryWriter

    loop, originals = Loop(), (SummaryWriter.add_scalar, SummaryWriter.add_scalars)
    writer = SummaryWriter(str(tmp_path))
    with gradscope.watch(loop.model, loop.optimizer, writer=writer) as scope:
        loop.train()
        writer.add_scalar("Loss/val", 1.0, 0)
        writer.add_scalar(tag="Loss/train", scalar_value=2.0)
        loop.train()
        writer.add_scalar(tag="Loss/val", scalar_value=torch.tensor(0.5), global_step=1)
        writer.add_scalars("loss", {"train": 1.0, "test": 3.0}, 1)
        found = series(scope)
    assert [("tensorboard", [3.0, 7.0], [1.0, 0.5]), ("tensorboard", [7.0], [3.0])] == found
    assert originals == (SummaryWriter.add_scalar, SummaryWriter.add_scalars)


def test_what_a_plateau_scheduler_is_given_is_read() -> None:
    """Where it is to become small."""
    loop = Loop()
    low = torch.optim.lr_scheduler.ReduceLROnPlateau(loop.optimizer, patience=0)
    high = torch.optim.lr_scheduler.ReduceLROnPlateau(loop.optimizer, mode="max")
    with gradscope.watch() as scope:
        for value in (0.5, 0.75):
            loop.train()
            low.step(value)
            high.step(7.0)
        found = series(scope)
    assert [("plateau", [3.0, 7.0], [0.5, 0.75])] == found
    assert 0.001 == pytest.approx(loop.optimizer.param_groups[0]["lr"])


def evaluate(model: nn.Module, x: torch.Tensor = X, y: torch.Tensor = Y) -> float:
    model.eval()
    with torch.no_grad():
        return float(functional.cross_entropy(model(x), y))


def in_batches(model: nn.Module) -> float:
    model.eval()
    with torch.inference_mode():
        losses = [nn.CrossEntropyLoss()(model(x), y) * len(x) for x, y in zip(X.split(5), Y.split(5))]
    return float(sum(losses)) / 8


def test_evaluations_are_seen() -> None:
    """Loss functions and loss modules, batch by batch, each way in a series of its own; nothing of it stays behind."""
    loop, original = Loop(), (functional.cross_entropy, nn.Module.eval)
    with gradscope.watch() as scope:
        expected: tuple[list[float], list[float]] = ([], [])
        for _ in range(3):
            loop.train()
            expected[0].append(round(evaluate(loop.model), 4))
            expected[1].append(round(in_batches(loop.model), 4))
        loop.train(1)
        found = series(scope)
        assert functional.cross_entropy is original[0]
    assert [("evaluation", [3.0, 7.0, 11.0], values) for values in expected] == found
    assert original == (functional.cross_entropy, nn.Module.eval)


def unowned(loop: Loop) -> None:
    teacher = nn.Linear(6, 3)
    evaluate(loop.model)
    evaluate(teacher)


def with_gradient(loop: Loop) -> None:
    loop.model.eval()
    functional.cross_entropy(loop.model(X), Y)


def in_train_mode(loop: Loop) -> None:
    loop.model.eval()
    loop.model.train()
    with torch.no_grad():
        functional.cross_entropy(loop.model(X), Y)


def each_sample_alone(loop: Loop) -> None:
    for x, y in zip(X.split(1), Y.split(1)):
        evaluate(loop.model, x, y)


@pytest.mark.parametrize("way, most", [(unowned, 1), (with_gradient, 0), (in_train_mode, 0), (each_sample_alone, 4)])
def test_what_is_no_evaluation_of_the_model(way: Any, most: int) -> None:
    """Another model's, a training's; the same lines again and again are given up."""
    loop = Loop()
    with gradscope.watch() as scope:
        for _ in range(8):
            loop.train()
            way(loop)
        loop.train(1)
        found = series(scope)
    assert most == len(found)
    assert all(len(rows) == (1 if way is each_sample_alone else 8) for _, rows, _ in found)


def test_a_loss_for_each_sample_is_taken_by_its_mean() -> None:
    """reduction="none": the series of the two is the same."""
    loop = Loop()
    with gradscope.watch() as scope:
        for _ in range(3):
            loop.train()
            loop.model.eval()
            with torch.no_grad():
                single = functional.cross_entropy(loop.model(X), Y, reduction="none")
                functional.cross_entropy(loop.model(X), Y)
        loop.train(1)
        (_, _, means), (_, _, scalars) = series(scope)
    assert len(single) == len(Y) and means == pytest.approx(scalars, rel=1e-6)


def test_an_evaluation_is_open_and_torch_still_finds_its_functions() -> None:
    """Pickles, torch.jit.script and tensor subclasses meet the functions as they are."""

    class Mine(torch.Tensor):
        seen: list[Any] = []

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.seen.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    loop, original = Loop(), functional.mse_loss
    with gradscope.watch():
        loop.train()
        loop.model.eval()
        assert functional.mse_loss is not original
        assert pickle.loads(pickle.dumps(functional.mse_loss)) is functional.mse_loss
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that scripting is deprecated
            scripted = torch.jit.script(nn.MSELoss())
        assert 1.0 == float(scripted(torch.ones(2), torch.zeros(2)))
        functional.mse_loss(torch.ones(2).as_subclass(Mine), torch.zeros(2))
    assert original in Mine.seen
    assert functional.mse_loss is original


def test_a_crash_in_an_evaluation_leaves_nothing() -> None:
    """The functions are put back."""
    loop, original = Loop(), functional.cross_entropy
    with pytest.raises(ZeroDivisionError):
        with gradscope.watch():
            loop.train()
            loop.model.eval()
            raise ZeroDivisionError
    assert functional.cross_entropy is original


def test_a_script_that_hands_in_nothing_is_told_so(tmp_path: Path) -> None:
    """In the JSON report; on the terminal that is no news."""
    script = write(tmp_path, "import torch\nfrom torch import nn\n" + _SCRIPT)
    outcome = watched(tmp_path, script, options=("-q",))
    assert outcome.report is not None
    assert NO_METRIC == outcome.report["skipped"]
    assert "" == outcome.stderr


_SCRIPT = """
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(5):
    optimizer.zero_grad()
    (model(torch.ones(4, 2)) - torch.ones(4, 1)).square().mean().backward()
    optimizer.step()
"""
