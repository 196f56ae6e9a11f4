"""Findings as Python warnings: by family, at the user's own line, once, and as errors where a filter says so."""
from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import gradscope
from gradscope.hooks.dispatcher import DISPATCHER

X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.linspace(0, 1, 8).reshape(8, 1)


def train(steps: int = 12, clear: bool = False) -> None:
    """A loop that forgets zero_grad unless told to `clear`."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        if clear:
            optimizer.zero_grad()
        nn.functional.mse_loss(model(X), Y).backward()  # here
        optimizer.step()


def backward_line() -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith("# here"))


def test_a_finding_warns_once_at_the_users_line() -> None:
    """One warning of the family's category, with file and line of the call, the code and the cure."""
    with pytest.warns(gradscope.LoopWarning) as told, gradscope.watch():
        train()
    assert 1 == len(told)
    assert (__file__, backward_line()) == (told[0].filename, told[0].lineno)
    assert "GS101 missing-zero-grad (step 1)" in str(told[0].message)
    assert "zero_grad() before line" in str(told[0].message)


def test_a_healthy_loop_warns_of_nothing() -> None:
    """Under a filter that makes every warning an error, a healthy loop runs through."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with gradscope.watch():
            train(clear=True)


def test_every_category_is_a_gradscope_warning() -> None:
    """One filter catches all families, and they are user warnings: shown by default."""
    for name in gradscope.__all__:
        if name.endswith("Warning"):
            assert issubclass(getattr(gradscope, name), gradscope.GradscopeWarning)
    assert issubclass(gradscope.GradscopeWarning, UserWarning)


def test_a_filter_turns_it_into_an_error_in_the_loop() -> None:
    """The user asked for it: the exception comes out of their own call, and after it nothing is left behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", gradscope.LoopWarning)
        with pytest.raises(gradscope.LoopWarning, match="GS101"), gradscope.watch() as scope:
            train()
    assert scope.findings[0].code == "GS101"
    assert torch.autograd.backward.__module__ == "torch.autograd"
    assert [] == DISPATCHER.outbox


def test_only_the_family_filtered_raises() -> None:
    """An error filter for losses leaves a warning about the loop a warning."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.simplefilter("error", gradscope.LossWarning)
        with gradscope.watch():
            train()
    assert [gradscope.LoopWarning] == [w.category for w in told]


def test_two_runs_warn_twice() -> None:
    """Python's own registry of warnings, which would take the second for a repetition, is left out."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            with gradscope.watch():
                train()
    assert 2 == len(told)


def test_what_only_the_end_can_tell_warns_at_close() -> None:
    """A loop that never steps is found when the scope is closed; close() gives the warning."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scope = gradscope.watch(model, optimizer)
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), Y).backward()
    with pytest.warns(gradscope.LoopWarning, match="GS105"):
        scope.close()


def test_what_a_scope_ignores_does_not_warn() -> None:
    """ignore= holds for warnings, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with gradscope.watch(ignore="GS101"):
            train()


def test_the_loops_own_exception_is_not_replaced() -> None:
    """Where the loop raises while a warning waits, its own exception is what arrives."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", gradscope.LoopWarning)
        with pytest.raises(ZeroDivisionError), gradscope.watch():
            model = nn.Linear(3, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            for step in range(3):
                nn.functional.mse_loss(model(X), Y).backward()
                optimizer.step()
                1 / (1 - step)


def script(folder: Path, last: str = "") -> Path:
    source = Path(__file__).read_text(encoding="utf-8")
    body = source[source.index("X, Y =") : source.index("def backward_line")]
    file = folder / "train.py"
    file.write_text(f"import torch\nfrom torch import nn\nimport gradscope\n{body}\n{last}", encoding="utf-8")
    return file


def test_run_raises_no_python_warnings(tmp_path: Path) -> None:
    """`gradscope run` reports at the end; a script that turns warnings into errors runs as it would without it."""
    file = script(tmp_path, "import warnings\nwarnings.simplefilter('error')\ntrain()\nprint('end')\n")
    command = [sys.executable, "-m", "gradscope", "run", str(file)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (0, "end\n") == (ran.returncode, ran.stdout), ran.stderr
    assert "GS101" in ran.stderr and "LoopWarning" not in ran.stderr


def test_a_scope_that_nobody_closes_warns_at_exit(tmp_path: Path) -> None:
    """The last findings are told when the interpreter ends, even as plain warnings under an error filter."""
    last = (
        "scope = gradscope.watch(every=1)\n"
        "model = nn.Linear(3, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
        "for _ in range(8):\n"
        "    model(X).sum().backward()\n"
    )
    ran = subprocess.run([sys.executable, script(tmp_path, last)], capture_output=True, text=True, check=False)
    assert 0 == ran.returncode
    assert "LoopWarning: GS105" in ran.stderr
