"""``gradscope check``: the first steps of a script, a verdict on each promise, an exit code."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.shell import cli, write

SCRIPT = """\
import sys
from pathlib import Path

import torch
from torch import nn

torch.manual_seed(0)
SETUP = None
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
Path("started.txt").write_text("x")
for step in range(1_000_000):
    inputs = torch.randn(16, 6)
    labels = inputs[:, :4].argmax(1)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
Path("finished.txt").write_text("x")
"""


def checked(folder: Path, script: str, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, stdout, and the JSON document."""
    done = cli(folder, "check", "--json", "c.json", *options, write(folder, script))
    file = folder / "c.json"
    return done.code, done.stdout, json.loads(file.read_text()) if file.exists() else {}


def verdicts(document: dict[str, Any]) -> dict[str, bool | None]:
    return {verdict["name"]: verdict["good"] for verdict in document["verdicts"]}


def test_a_healthy_script_passes(tmp_path: Path) -> None:
    """Twenty steps of a million, in a copy: exit code 0, every verdict good, nothing written beside the script."""
    code, told, document = checked(tmp_path, SCRIPT)
    assert 0 == code, told
    assert 20 == document["steps"] and "stopped" == document["status"]
    assert {True} == set(verdicts(document).values()), told
    assert "ln 4 = 1.386" in told and "FAILED" not in told
    assert {"train.py", "c.json"} == {file.name for file in tmp_path.iterdir()}


def test_what_is_sick_fails(tmp_path: Path) -> None:
    """Frozen by the optimizer, cut off, a start far above chance, a loss that becomes NaN: each verdict by name."""
    sick = SCRIPT.replace("nn.functional.cross_entropy(model(inputs), labels)", "loss_of(step)").replace(
        "SETUP = None",
        "extra = nn.Linear(3, 3)\n"
        "def loss_of(step):\n"
        "    made = 100 * model(inputs)\n"
        "    return nn.functional.cross_entropy(made, labels) * (float('nan') if step == 9 else 1)",
    )
    sick = sick.replace("SGD(model.parameters(), lr=0.1)", "SGD([*model.parameters(), *extra.parameters()], lr=1e-4)")
    code, told, document = checked(tmp_path, sick, "--steps", "12")
    found = verdicts(document)
    assert 1 == code and 12 == document["steps"]
    assert found["every parameter gets a gradient"] is False and "opt0.group0.4" in told
    assert found["every parameter is updated"] is True
    assert found["the loss is finite"] is False and "at step 9" in told
    assert found["the loss starts near that of a blind guess"] is False
    assert found["no error is found"] is False
    assert "train.py:" in told and str(tmp_path) not in told


def test_a_learning_rate_of_zero_updates_nothing(tmp_path: Path) -> None:
    """The parameters have gradients, and stay as they are. A regression has no chance level to start at."""
    sick = SCRIPT.replace("lr=0.1", "lr=0.0").replace(
        "nn.functional.cross_entropy(model(inputs), labels)", "model(inputs).square().mean()"
    )
    code, told, document = checked(tmp_path, sick, "--steps", "4")
    found = verdicts(document)
    assert 1 == code and found["every parameter is updated"] is False and "every learning rate is 0" in told
    assert found["the loss starts near that of a blind guess"] is None


def test_a_sum_of_losses_has_no_blind_guess(tmp_path: Path) -> None:
    """Three cross entropies in one loss start above twice ln C, and nothing is wrong with that."""
    one = "nn.functional.cross_entropy(model(inputs), labels)"
    code, told, document = checked(tmp_path, SCRIPT.replace(one, f"{one} + 2 * {one}"), "--steps", "4")
    assert 0 == code and verdicts(document)["the loss starts near that of a blind guess"] is None, told
    assert "more than one mean cross entropy" in told


def test_a_script_that_dies(tmp_path: Path) -> None:
    """Before its first step: exit code 2, with its own traceback. Later: 1. Without any step: 1."""
    early = cli(tmp_path, "check", write(tmp_path, SCRIPT.replace("SETUP = None", "raise ValueError('no data')")))
    assert 2 == early.code and "ValueError: no data" in early.stderr
    dies = SCRIPT.replace("    loss.backward()", "    loss.backward(); 1 / (3 - step)")
    late = cli(tmp_path, "check", write(tmp_path, dies))
    assert 1 == late.code and "ended with exit code 1 after 3 steps" in late.stdout
    none = cli(tmp_path, "check", write(tmp_path, "import torch\n"))
    assert 1 == none.code and "no optimizer step was seen" in none.stdout
    assert 2 == cli(tmp_path, "check", "missing.py").code
