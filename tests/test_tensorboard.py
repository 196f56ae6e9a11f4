"""Curves and findings of real loops in TensorBoard: in event files, in the user's own writer, in the browser."""
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import gradscope
from gradscope.record.chunks import ChunkWriter
from gradscope.record.run_folder import RunFolder
from gradscope.reporters.event_file import EVENTS, EventFile
from gradscope.reporters.tensorboard import TensorBoard
from tests import forks
from tests.browser import chromium, tensorboard
from tests.curves import curve, only_run, scalar_tags, texts
from tests.shell import HEALTHY, SICK, TIMEOUT, environment, watched, watched_command, write


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
    outcome = forks.watched(tmp_path, write(tmp_path, SICK))
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
        deadline = time.monotonic() + TIMEOUT
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
                                         (TensorBoard, "_rows"), (TensorBoard, "_flush")])  # fmt: skip
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
    from gradscope import watching as scopes

    (tmp_path / EVENTS).symlink_to("/dev/full")
    monkeypatch.setattr(scopes, "new_run_folder", lambda directory, stem: tmp_path)
    with gradscope.watch(log_dir=tmp_path) as scope:
        train()
    assert 1 == capsys.readouterr().err.count("No space left on device")
    assert 30 == scope.record.meta.rows


def test_the_whole_folder_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where the record cannot be written, the event file beside it ends too; one sentence for both."""
    monkeypatch.setattr(ChunkWriter, "_chunk", disk_full)
    with gradscope.watch(log_dir=tmp_path):
        train()
        monkeypatch.setattr(EventFile, "flush", disk_full)
    said = capsys.readouterr().err
    assert 1 == said.count("\n") == said.count("the run folder cannot be written")


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


def test_in_the_browser(tmp_path: Path) -> None:
    """Somebody opens TensorBoard: the curves are on the scalar page, the findings on the text page."""
    forks.watched(tmp_path, write(tmp_path, SICK))
    with chromium() as browser, tensorboard(tmp_path / "runs") as address:
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        page.goto(f"{address}/#scalars")
        for tag in ("gradscope/loss", "gradscope/lr", "gradscope/gradient norm"):
            page.get_by_text(tag, exact=True).first.wait_for(timeout=30_000)
        page.get_by_text("gradscope parameters", exact=True).first.wait_for(timeout=30_000)
        page.goto(f"{address}/#text")
        page.get_by_text("train.py:11: error GS101 missing-zero-grad").first.wait_for(timeout=30_000)
        page.get_by_text("call optimizer.zero_grad() before line 11").first.wait_for(timeout=30_000)
