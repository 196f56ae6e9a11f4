"""Workers of ``torch.multiprocessing.spawn`` under ``gradscope run``."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forks import cli
from tests.shell import MANY, plain, watched, write

EXAMPLE = Path(__file__).parents[1] / "examples" / "distributed_ddp.py"
WORKERS = """\
import signal
import sys
import time
import torch
from torch import nn


def work(rank, steps):
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for i in range(steps):
        if rank == 1:
            optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
    print(f"worker {rank} took {i + 1} steps", flush=True)
    if rank == 1:
        time.sleep(2)
        raise ValueError("of worker 1")
    time.sleep(60)


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, args=(12,), nprocs=2)
"""


def test_each_worker_is_a_rank(tmp_path: Path) -> None:
    """Findings name the workers that have them, whoever crashed and whom torch then ended; what the script says, its
    traceback included, is what it says without us."""
    script = write(tmp_path, WORKERS)
    alone = plain(tmp_path, script, seconds=MANY)
    done = watched(tmp_path, script, seconds=MANY)
    assert 1 == alone.code == done.code and 1 == done.reports, done.stderr
    assert sorted(alone.stdout.splitlines()) == sorted(done.stdout.splitlines())
    told, _, report = done.stderr.partition("train.py:16: error GS101")
    assert steady(alone.stderr) == steady(told)
    assert "rank 0 only)" in report and "12 steps on 2 ranks" in report
    assert "note: rank 0: interrupted at step 11 (exit code 143)" in report
    assert "note: rank 1: crashed at step 11 (exit code 1)" in report
    assert done.report is not None
    assert [("GS101", [0])] == [(one["code"], one["ranks"]) for one in done.report["findings"]]
    assert ("crashed", 1) == (done.report["run"]["status"], done.report["run"]["exit_code"])
    assert "rank 0 only)" in cli(tmp_path, "report", "runs").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="process groups and Ctrl-C are of another kind there")
def test_ctrl_c_is_told_of_each_worker(tmp_path: Path) -> None:
    """The terminal sends it to all: the report waits until the workers have closed their parts, and holds all steps."""
    there = f"    open(r'{tmp_path}/' + str(rank), 'w')\n    if rank > 1:"
    script = write(tmp_path, WORKERS.replace("    if rank == 1:\n        time", f"{there}\n        time"))
    command = [sys.executable, "-m", "gradscope", "run", script]
    run = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + MANY
    while time.monotonic() < until and not ((tmp_path / "0").exists() and (tmp_path / "1").exists()):
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    told = run.communicate(timeout=MANY)[1]
    assert "12 steps on 2 ranks" in told, told
    assert "still running" not in told and "crashed" not in told, told


def steady(text: str) -> str:
    """Without what is another one each time: process numbers and times."""
    return re.sub(r"\d{4,}|\d\d:\d\d:\d\d(\.\d+)?", "0", text)


def test_the_example_is_healthy(tmp_path: Path) -> None:
    """Two processes that train together, by DistributedDataParallel: nothing is found. (gloo itself ends a process by
    an abort at times: then once more.)"""
    for _ in range(3):
        done = watched(tmp_path, str(EXAMPLE), seconds=MANY)
        if "terminate called without an active exception" not in done.stderr:
            break
    assert 0 == done.code and [] == done.codes, done.stderr
    assert "no errors, no warnings in 75 steps on 2 ranks" in done.stderr
    assert 5 == done.stdout.count("rank 0's pictures were told right")
