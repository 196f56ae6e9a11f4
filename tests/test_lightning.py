"""The callback for Lightning: right on healthy and sick trainings, and nothing changed by it, to the bit."""
from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradscope
from gradscope.hooks.dispatcher import DISPATCHER

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    L = pytest.importorskip("lightning.pytorch")

from gradscope.integrations.lightning import GradscopeCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, of workers and loggers


def data(rows: int = 320) -> TensorDataset:
    """Five classes, told apart by a few of sixteen features."""
    made = torch.Generator().manual_seed(5)
    labels = torch.randint(5, (rows,), generator=made)
    centers = torch.randn(5, 16, generator=made)
    return TensorDataset(centers[labels] + 0.8 * torch.randn(rows, 16, generator=made), labels)


class Net(L.LightningModule):
    """A classifier with dropout; `fault` plants a mistake."""

    def __init__(self, fault: str = "", lr: float = 3e-3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 5))
        self.fault, self.lr = fault, lr

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        x, y = batch
        out = self.body(x)
        if self.fault == "nan" and self.global_step == 20:
            out = torch.log(out.clamp(max=0.0).abs() - out.abs().max())
        loss = nn.functional.cross_entropy(out, y)
        self.log("train_loss", loss)
        return loss  # of the batch

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.body(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        mine = self.body[3].parameters() if self.fault == "missing" else self.parameters()
        return torch.optim.Adam(mine, lr=30.0 if self.fault == "lr" else self.lr)  # the rate


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Any:
    given = {"logger": False, "enable_checkpointing": False, "max_epochs": 4, **options}
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, callbacks=list(callbacks), enable_progress_bar=False,
        enable_model_summary=False, **given,
    )  # fmt: skip


def fit(folder: Path, net: Any, *callbacks: Any, ckpt: Any = None, **options: Any) -> Any:
    """Train for 4 epochs of 10 steps; gives back the trainer."""
    torch.manual_seed(3)
    train, valid = DataLoader(data(), 32, shuffle=True), DataLoader(data(64), 64)
    made = trainer(folder, *callbacks, **options)
    made.fit(net, train, valid, ckpt_path=ckpt)
    return made


def made(fault: str = "") -> Net:
    torch.manual_seed(0)
    return Net(fault)


def test_a_healthy_fit_is_silent_and_the_same_to_the_bit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Weights, metrics and random numbers are those without the callback; afterwards no hook is left."""
    alone, watched = made(), made()
    expected = fit(tmp_path, alone)
    state = torch.random.get_rng_state()
    callback = GradscopeCallback()
    actual = fit(tmp_path, watched, callback)
    assert torch.equal(state, torch.random.get_rng_state())
    assert expected.callback_metrics == actual.callback_metrics
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters()))
    assert () == callback.findings
    record = callback.scope.record
    assert 40 == record.meta.rows
    assert "body.0.weight" == record.optimizers[0].parameters[0].name
    assert [("log", "val_loss", 4)] == [(m.source, m.name, len(m)) for m in record.metrics if m.source == "log"]
    assert "no errors, no warnings in 40 steps" in capfd.readouterr().err
    assert torch.autograd.backward.__module__ == "torch.autograd" and not DISPATCHER.outbox


@pytest.mark.parametrize("fault, code", [("missing", "GS103"), ("lr", "GS301"), ("nan", "GS201")])
def test_a_planted_fault_is_found_first(fault: str, code: str, tmp_path: Path) -> None:
    """The right finding leads, is warned of once, and goes to the trainer's loggers."""
    logger = L.loggers.CSVLogger(tmp_path)
    callback = GradscopeCallback(report=False)
    with pytest.warns(gradscope.GradscopeWarning, match=code) as told:
        fit(tmp_path, made(fault), callback, logger=logger, log_every_n_steps=5)
    assert code == callback.findings[0].code
    assert 1 == len([f for f in callback.findings if f.severity != "info" and f.caused_by is None])
    assert 1 == len([w for w in told if issubclass(w.category, gradscope.GradscopeWarning)])
    assert f"gradscope/{code}" in Path(logger.log_dir, "metrics.csv").read_text(encoding="utf-8")


def line_with(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


def test_an_unmodified_script_is_told_of_by_its_own_lines(tmp_path: Path) -> None:
    """What watches everything, as `gradscope run` does, names the training_step's loss and the optimizer's rate."""
    with gradscope.watch() as scope:
        fit(tmp_path, made("lr"))
        fit(tmp_path, made("nan"))
    found = {f.code: f for f in scope.findings if f.caused_by is None}
    assert ["GS201", "GS301"] == sorted(found)
    assert (__file__, line_with("# of the batch")) == (found["GS201"].where.file, found["GS201"].where.line)
    assert (__file__, line_with("# the rate")) == (found["GS301"].where.file, found["GS301"].where.line)
    assert "lower lr to 0.01 (it is 30), in configure_optimizers" == found["GS301"].advice[0].text
    assert "body.0.weight" == scope.record.optimizers[0].parameters[0].name


def test_losses_divided_for_accumulation_are_told_whole(tmp_path: Path) -> None:
    """Four batches a step: the record's loss is that of a batch, at chance level first, not a quarter of it."""
    callback = GradscopeCallback(report=False)
    fit(tmp_path, made(), callback, accumulate_grad_batches=4)
    losses = callback.scope.record.optimizers[0].scalars["loss"]
    assert 12 == len(losses) and 1.3 < losses[0] < 1.9
    assert () == callback.findings


def test_a_search_for_a_learning_rate_is_not_watched(tmp_path: Path) -> None:
    """Lightning's LearningRateFinder drives the loss up on purpose; the fit after it is watched as ever."""
    finder = L.callbacks.LearningRateFinder(max_lr=100.0, num_training_steps=30, early_stop_threshold=None)
    callback = GradscopeCallback(report=False)
    with gradscope.watch() as scope:
        fit(tmp_path, made(), finder, callback, max_epochs=2)
    assert 20 == scope.record.meta.rows == callback.scope.record.meta.rows
    assert () == scope.findings


def test_curves_and_findings_go_into_its_tensorboard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Beside the trainer's own curves, in its file."""
    fit(tmp_path, made("lr"), GradscopeCallback(), logger=L.loggers.TensorBoardLogger(tmp_path), log_every_n_steps=5)
    files = list(tmp_path.rglob("events.out.*"))
    assert 1 == len(files)
    written = files[0].read_bytes()
    for tag in (b"val_loss", b"gradscope/gradient norm", b"learning-rate-too-high"):
        assert tag in written
    assert "nothing more is written" not in capfd.readouterr().err


def test_a_checkpoint_holds_nothing_of_it_and_is_resumed(tmp_path: Path) -> None:
    """The callback is copied and pickled with a trainer; what is resumed trains on without an alarm."""
    callback = GradscopeCallback(report=False)
    net = made()
    first = fit(tmp_path, net, callback, L.callbacks.ModelCheckpoint(tmp_path), enable_checkpointing=True, max_epochs=2)
    path = first.checkpoint_callback.best_model_path
    assert "radscope" not in str(torch.load(path, weights_only=False)["callbacks"])
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert other.scope is None
    again = GradscopeCallback(report=False)
    fit(tmp_path, made(), again, ckpt=path)
    assert (20, 20) == (callback.scope.record.meta.rows, again.scope.record.meta.rows)
    assert () == again.findings


def test_a_training_that_raises_is_told_of_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The exception stays the trainer's own; the report says that it crashed, and the next fit starts from nothing."""

    class Stops(L.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 7:
                raise KeyError("mine")

    callback = GradscopeCallback()
    with pytest.raises(KeyError, match="mine"):
        fit(tmp_path, made(), callback, Stops())
    assert "in 7 steps" in capfd.readouterr().err
    assert "crashed" == callback.scope.record.meta.status
