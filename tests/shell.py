"""Scripts run as people run them: by plain python, and by ``gradscope run``, each in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT = 180  # seconds; a script takes about five, but on a busy machine
MANY = 300  # where it is several processes

SICK = """\
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def step():
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


for _ in range(12):
    print(step())
"""
HEALTHY = SICK.replace("    loss.backward()\n", "    optimizer.zero_grad()\n    loss.backward()\n")


@dataclass(frozen=True)
class Outcome:
    """How a script ended. `report` is the JSON report, None where none was asked for or written."""

    code: int
    stdout: str
    stderr: str
    report: dict[str, Any] | None = None

    @property
    def codes(self) -> list[str]:
        """The codes of the findings, in the report's order."""
        assert self.report is not None, self.stderr
        return [finding["code"] for finding in self.report["findings"]]

    @property
    def reports(self) -> int:
        """How many reports stand on stderr."""
        return self.stderr.count("of the run's time)") + self.stderr.count("no optimizer step was seen")


def environment(**changes: str) -> dict[str, str]:
    """The environment of all scripts: one thread, as two processes at a time share few cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "", **changes}


def execute(command: list[str], folder: Path, seconds: float = TIMEOUT) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def plain(folder: Path, *arguments: str, seconds: float = TIMEOUT) -> Outcome:
    """``python <arguments>``, in `folder`."""
    return execute([sys.executable, *arguments], folder, seconds)


def watched_command(*arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    """``gradscope run <options> <arguments>``, with the report as r.json in the starting directory."""
    return [sys.executable, *watched_arguments(*arguments, options=options)]


def watched_arguments(*arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    """The same, without python itself."""
    return ["-m", "gradscope", "run", "--json", "r.json", *options, *arguments]


def watched(folder: Path, *arguments: str, options: tuple[str, ...] = (), seconds: float = TIMEOUT) -> Outcome:
    """The same under ``gradscope run``; its report is read, too."""
    outcome = execute(watched_command(*arguments, options=options), folder, seconds)
    return Outcome(outcome.code, outcome.stdout, outcome.stderr, read_report(folder))


def read_report(folder: Path) -> dict[str, Any] | None:
    """The JSON report of the run in `folder`, if it was written."""
    file = folder / "r.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def cli(folder: Path, *arguments: str) -> Outcome:
    """``gradscope <arguments>``, in `folder`."""
    return execute([sys.executable, "-m", "gradscope", *arguments], folder)


def write(folder: Path, text: str, name: str = "train.py") -> str:
    """Write a script; returns its name."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return name
