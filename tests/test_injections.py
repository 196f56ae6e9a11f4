"""Failures from outside and inside: kills, clocks, full houses; the training's result stays, and what was written."""
from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forks
from tests.shell import HEALTHY, SICK, environment, watched_command, write

ROOT = Path(__file__).parent.parent
FOREVER = SICK.replace("for _ in range(12):", "for _ in range(10**9):")


def test_every_function_fails_in_turn() -> None:
    """One in forty of those that are called while a loop trains (all: `python -m tests.injecting`): no failure reaches
    the loop, changes a bit of its result, or stays unsaid.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.injecting", "--share", "40"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    assert re.search(r"^[1-9]\d* failures in \d+ functions, 0 of them not contained$", done.stdout, re.MULTILINE)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """kill -9 after so many of its steps: whatever is in the folder by then can be read, or it is said that nothing is.

    The moments differ from run to run, on purpose: none of them may matter.
    """
    script = write(tmp_path, FOREVER)
    for number in range(3):
        folder = tmp_path / str(number)
        process = subprocess.Popen(
            watched_command(str(tmp_path / script), options=("--log-dir", str(folder))),
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.random() * 0.5)
        process.kill()
        process.communicate()
        assert -signal.SIGKILL == process.returncode
        later = forks.cli(tmp_path, "report", str(folder))
        assert later.code in (0, 1), later.stderr
        assert "Traceback" not in later.stderr
        assert "has not ended" in later.stdout if later.code == 0 else 1 == later.stderr.count("\n"), later.stderr


def test_ten_at_once_into_one_folder(tmp_path: Path) -> None:
    """Runs that start in the same second get folders of their own, and each of them is whole."""
    script = write(tmp_path, HEALTHY)
    expected = forks.plain(tmp_path, script).stdout
    ten = forks.together([["-m", "gradscope", "run", "--log-dir", "runs", "-q", script]] * 10, tmp_path)
    assert [(0, expected)] * 10 == [(one.code, one.stdout) for one in ten]
    folders = sorted(path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert 10 == len(folders)
    for folder in folders:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        assert ("finished", 12) == (meta["status"], meta["rows"])


BACKWARDS = """
import time

real, calls = (time.time, time.monotonic, time.perf_counter), [0]


def back():
    calls[0] += 1
    return {start} - 3.5 * calls[0]


{patched}
"""


@pytest.mark.parametrize("clocks", ["time.time", "time.time = time.monotonic = time.perf_counter"])
def test_clock_goes_backwards(clocks: str, tmp_path: Path) -> None:
    """Each time it is asked it is earlier, as on a machine that is set right: same output, same findings."""
    source = BACKWARDS.format(start="real[0]()", patched=f"{clocks} = back") + SICK
    script = write(tmp_path, source)
    expected, outcome = forks.plain(tmp_path, script), forks.watched(tmp_path, script)
    assert (expected.code, expected.stdout) == (outcome.code, outcome.stdout)
    assert "GS101" in outcome.stderr and "Traceback" not in outcome.stderr
    later = forks.cli(tmp_path, "report", "runs")
    assert 0 == later.code and "GS101" in later.stdout, later.stderr


FORKING = """
child = 1
for number in range(12):
    if number == 6:
        child = os.fork()
    os.write(1, f"{child > 0} {step()!r}\\n".encode())
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_fork_in_the_middle(tmp_path: Path) -> None:
    """The child trains on, unwatched, and comes out as without gradscope; so does the parent, whose record is whole."""
    source = "import os\n" + SICK.replace("for _ in range(12):\n    print(step())", FORKING)
    script = write(tmp_path, source)
    expected, outcome = forks.plain(tmp_path, script), forks.watched(tmp_path, script)
    assert (expected.code, sorted(expected.stdout.split("\n"))) == (outcome.code, sorted(outcome.stdout.split("\n")))
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (12, ["GS101"]) == (report["run"]["steps"], [f["code"] for f in report["findings"] if not f["caused_by"]])
