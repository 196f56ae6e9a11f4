"""Running the programs: as they are, under gradscope, and under `gradscope try`; each in a folder of its own."""
from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from programs import Program
from scoring import Alarm

LIMIT = 300.0  # seconds
GRADSCOPE = "gradscope"
RIVALS = Path(__file__).parent / "rivals.py"
_NUMBER = re.compile(r"^(start|result): (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """One run: how it ended, what it printed of itself (NaN: nothing), how long it took, its most memory in bytes."""

    code: int
    start: float
    result: float
    seconds: float
    memory: float
    output: str
    errors: str


@dataclass(frozen=True)
class Watched:
    """One run under a tool: its alarms, in the tool's order, and whether the run came out as without it."""

    outcome: Outcome
    alarms: tuple[Alarm, ...]


def bare(program: Program) -> Outcome:
    """The program without any tool."""
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        return _run([sys.executable, "train.py"], program, Path(place))


def watched(program: Program, tool: str = GRADSCOPE) -> Watched:
    """Under a tool; `gradscope run`: its errors and warnings, causes first."""
    if tool != GRADSCOPE:
        return _rival(program, tool)
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        folder = Path(place)
        command = [sys.executable, "-m", "gradscope", "run", "--json", "report.json", "train.py"]
        outcome = _run(command, program, folder)
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Watched(outcome, ())
        bad = [f for f in report["findings"] if f["severity"] != "info"]
        return Watched(outcome, tuple(Alarm(f["code"], f["step"], (f["code"],)) for f in bad))


def _rival(program: Program, tool: str) -> Watched:
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        folder = Path(place)
        outcome = _run([sys.executable, str(RIVALS), tool, "alarms.json", "train.py"], program, folder)
        try:
            told = json.loads((folder / "alarms.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Watched(outcome, ())
        return Watched(outcome, tuple(Alarm(says, step, tuple(codes)) for says, step, codes in told))


def tried(program: Program) -> list[float]:
    """The results of `gradscope try`, one for each advice that it has applied."""
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        outcome = _run([sys.executable, "-m", "gradscope", "try", "--show-output", "train.py"], program, Path(place))
        results = [_float(number) for name, number in _NUMBER.findall(outcome.output) if name == "result"]
        return results[1:]  # the first one is of the script as it is


def _run(command: Sequence[str], program: Program, folder: Path) -> Outcome:
    (folder / "train.py").write_text(program.source, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.perf_counter()
    with open(folder / "stdout", "w+") as output_file, open(folder / "stderr", "w+") as errors_file:
        process = subprocess.Popen(
            [*program.command, *command], cwd=folder, env=environment, stdout=output_file, stderr=errors_file
        )
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)  # this one's memory, not the most that any child has had
        limit.cancel()
        process.returncode = code = os.waitstatus_to_exitcode(status)
        seconds, memory = time.perf_counter() - start, usage.ru_maxrss * 1024.0
        output_file.seek(0)
        errors_file.seek(0)
        output, errors = output_file.read(), errors_file.read()
    numbers = {name: _float(number) for name, number in _NUMBER.findall(output)}
    return Outcome(
        code, numbers.get("start", math.nan), numbers.get("result", math.nan), seconds, memory, output, errors
    )


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
