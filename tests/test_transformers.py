"""The callback for Hugging Face's Trainer: right on healthy and sick trainings, and nothing changed by it."""
from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradscope

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

from gradscope.integrations.transformers import GradscopeCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Samples(torch.utils.data.Dataset):
    """Five classes, told apart by a few of sixteen features."""

    def __init__(self, rows: int) -> None:
        made = torch.Generator().manual_seed(5)
        self.labels = torch.randint(5, (rows,), generator=made)
        centers = torch.randn(5, 16, generator=made)
        self.x = centers[self.labels] + 0.8 * torch.randn(rows, 16, generator=made)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "labels": self.labels[index]}


class Net(nn.Module):
    """A classifier with dropout that computes its own loss, as models of the library do; `fault` plants a mistake."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 5))
        self.fault, self.calls = fault, 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.body(x)
        self.calls += self.training
        if self.fault == "nan" and self.calls == 21:
            out = torch.log(out.clamp(max=0.0).abs() - out.abs().max())
        return {"loss": nn.functional.cross_entropy(out, labels), "logits": out}  # the model's own


def made(fault: str = "") -> Net:
    torch.manual_seed(0)
    return Net(fault)


def trainer(folder: Path, net: nn.Module, *callbacks: Any, kind: Any = None, **options: Any) -> Any:
    """Four epochs of ten steps."""
    optimizers = options.pop("optimizers", (None, None))
    given = {"num_train_epochs": 4, "learning_rate": 3e-3, "save_strategy": "no", "eval_strategy": "epoch",
             "logging_steps": 5, "report_to": [], **options}  # fmt: skip
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=32, disable_tqdm=True, use_cpu=True, **given
    )
    return (kind or transformers.Trainer)(
        net, arguments, train_dataset=Samples(320), eval_dataset=Samples(64), callbacks=list(callbacks),
        optimizers=optimizers,
    )  # fmt: skip


def test_a_healthy_training_is_silent_and_the_same_to_the_bit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights, log and random numbers are those without the callback."""
    alone, watched = made(), made()
    expected = trainer(tmp_path, alone)
    expected.train()
    state = torch.random.get_rng_state()
    callback = GradscopeCallback()
    actual = trainer(tmp_path, watched, callback)
    actual.train()
    assert torch.equal(state, torch.random.get_rng_state())
    losses = [[line.get("loss", line.get("eval_loss")) for line in t.state.log_history] for t in (expected, actual)]
    assert losses[0] == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters()))
    assert () == callback.findings
    record = callback.scope.record
    assert 40 == record.meta.rows
    assert "body.0.weight" == record.optimizers[0].parameters[0].name
    assert [("eval_loss", 4)] == [(m.name, len(m)) for m in record.metrics if m.source == "log"]
    assert "no errors, no warnings in 40 steps" in capfd.readouterr().err


@pytest.mark.parametrize("fault, code", [("missing", "GS103"), ("lr", "GS301"), ("nan", "GS201")])
def test_a_planted_fault_is_found_first(fault: str, code: str, tmp_path: Path) -> None:
    """The right finding leads, is warned of once, and stands in the trainer's log."""
    callback, net = GradscopeCallback(report=False), made(fault)
    options: dict[str, Any] = {"learning_rate": 30.0} if fault == "lr" else {}
    if fault == "missing":
        options["optimizers"] = (torch.optim.AdamW(net.body[3].parameters(), lr=3e-3), None)
    training = trainer(tmp_path, net, callback, **options)
    with pytest.warns(gradscope.GradscopeWarning, match=code) as told:
        training.train()
    assert code == callback.findings[0].code
    assert 1 == len([f for f in callback.findings if f.severity != "info" and f.caused_by is None])
    assert 1 == len([w for w in told if issubclass(w.category, gradscope.GradscopeWarning)])
    assert 1 == len([line for line in training.state.log_history if f"gradscope/{code}" in line])


def line_with(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


def test_an_unmodified_script_is_told_of_by_its_own_lines(tmp_path: Path) -> None:
    """What watches everything, as `gradscope run` does, names the loss's line and the trainer's arguments."""
    with gradscope.watch() as scope:
        trainer(tmp_path, made(), learning_rate=30.0).train()
        trainer(tmp_path, made("nan")).train()
    found = {f.code: f for f in scope.findings if f.caused_by is None}
    assert ["GS201", "GS301"] == sorted(found)
    assert line_with("# the model's own") == found["GS201"].where.line
    texts = {advice.text for advice in found["GS301"].advice}
    assert {"lower learning_rate of TrainingArguments to 0.01 at its peak (it is 30)"} == texts


@pytest.mark.parametrize("shared", [False, True])
def test_losses_divided_for_accumulation_are_told_whole(shared: bool, tmp_path: Path) -> None:
    """Four batches a step, and two in an epoch's last one; also where the model is told how many items make a step."""

    class Sums(Net):
        def forward(self, x: torch.Tensor, labels: torch.Tensor, **kwargs: Any) -> dict[str, torch.Tensor]:
            out, items = self.body(x), kwargs.get("num_items_in_batch")
            reduction = "mean" if items is None else "sum"
            loss = nn.functional.cross_entropy(out, labels, reduction=reduction)
            return {"loss": loss if items is None else loss / items, "logits": out}

    torch.manual_seed(0)
    callback = GradscopeCallback(report=False)
    trainer(tmp_path, Sums() if shared else made(), callback, gradient_accumulation_steps=4).train()
    losses = callback.scope.record.optimizers[0].scalars["loss"]
    assert 12 == len(losses) and (losses > 1.0).all() and (losses < 2.0).all()
    assert () == callback.findings


def test_curves_and_findings_go_into_its_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Beside the trainer's own curves, in its file; the writer, which is closed before us, is let go of in time."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    trainer(tmp_path, made(), GradscopeCallback(), learning_rate=30.0, report_to=["tensorboard"]).train()
    files = list(tmp_path.rglob("events.out.*"))
    assert 1 == len(files)
    written = files[0].read_bytes()
    for tag in (b"train/loss", b"gradscope/gradient norm", b"learning-rate-too-high"):
        assert tag in written
    assert "nothing more is written" not in capfd.readouterr().err


def test_a_checkpoint_is_resumed(tmp_path: Path) -> None:
    """The callback is copied and pickled; what is resumed trains on without an alarm."""
    callback = GradscopeCallback(report=False)
    trainer(tmp_path, made(), callback, num_train_epochs=2, save_strategy="epoch").train()
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert other.scope is None
    again = GradscopeCallback(report=False)
    trainer(tmp_path, made(), again).train(resume_from_checkpoint=True)
    assert (20, 20) == (callback.scope.record.meta.rows, again.scope.record.meta.rows)
    assert () == again.findings


def accelerated(watched: bool) -> list[torch.Tensor]:
    """accelerate's loop, two batches a step; the weights it ends with."""
    torch.manual_seed(0)
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(True)
    accelerator, net = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2), made()
    loader = torch.utils.data.DataLoader(Samples(320), 32, shuffle=True)
    model, optimizer, loader = accelerator.prepare(net, torch.optim.AdamW(net.parameters(), lr=3e-3), loader)
    scope = gradscope.watch(model, optimizer) if watched else None
    for _ in range(4):
        for batch in loader:
            with accelerator.accumulate(model):
                accelerator.backward(model(**batch)["loss"])
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
    if scope is not None:
        scope.close()
        losses = scope.record.optimizers[0].scalars["loss"]
        assert 20 == len(losses) and 1.2 < losses[0] < 2.0
        assert [] == [f for f in scope.findings if f.severity != "info"]
    return [parameter.detach().clone() for parameter in net.parameters()]


def test_accelerates_wrapped_optimizer_can_be_watched() -> None:
    """What `prepare` returns stands for the optimizer inside; the weights are the same to the bit."""
    assert all(torch.equal(a, b) for a, b in zip(accelerated(False), accelerated(True)))
