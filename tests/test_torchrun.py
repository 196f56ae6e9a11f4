"""``torchrun -m gradscope run``: one run folder, one report, however its processes end."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.forks import cli
from tests.shell import MANY, Outcome, execute, read_report, write

torchrun = pytest.importorskip("torch.distributed.run", reason="torch has been built without torch.distributed")

TRAINING = """\
import os
import torch
from torch import nn

rank = int(os.environ["RANK"])
torch.manual_seed(0)
model = nn.Linear(4, 2)
model.extra = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for i in range(30):
    if rank == 0:
        optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
print(f"rank {rank} is done")
"""
KILLED = """
import ctypes
import signal
import time

if rank == 0:
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
mutex = ctypes.create_string_buffer(128)
while True:  # as in a collective that waits for rank 0, for ever, and hears no signal
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


def launch(folder: Path, processes: int, script: str, *options: str) -> Outcome:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    watched = ["-m", "gradscope", "run", "--json", "r.json", *options, script]
    done = execute([sys.executable, *command, *watched], folder, MANY)
    return Outcome(done.code, done.stdout, done.stderr, read_report(folder))


def test_one_report_of_all_ranks(tmp_path: Path) -> None:
    """Findings once, with the ranks that have them; parts of one folder, which report and timeline read."""
    done = launch(tmp_path, 2, write(tmp_path, TRAINING), "--fail-on", "error")
    assert 1 == done.reports and done.code != 0, done.stderr
    said = done.stdout.replace("\n", "")  # two processes write at once, and print writes its newline by itself
    assert said in ("rank 0 is donerank 1 is done", "rank 1 is donerank 0 is done")
    assert done.report is not None
    ranks = {finding["code"]: finding["ranks"] for finding in done.report["findings"]}
    assert [1] == ranks["GS101"] and [0, 1] == ranks["GS102"]
    assert "rank 1 only)" in done.stderr and "ranks 0-1)" in done.stderr and "30 steps on 2 ranks" in done.stderr
    run = done.report["run"]
    assert ("finished", None, 2, 30) == (run["status"], run["rank"], run["world"], run["steps"])
    assert [("finished", 30)] * 2 == [(rank["status"], rank["steps"]) for rank in run["ranks"]]

    (folder,) = [entry for entry in (tmp_path / "runs").iterdir() if entry.is_dir()]
    assert {"rank0", "rank1", "reported"} == {entry.name for entry in folder.iterdir()}
    assert [folder.name] == [entry.name for entry in (tmp_path / "runs").iterdir()]  # no note is left
    assert "rank 1 only)" in cli(tmp_path, "report", "runs").stdout
    assert "GS101" not in cli(tmp_path, "report", str(folder), "--rank", "0").stdout
    assert "step 29" in cli(tmp_path, "timeline", "runs", "--rank", "1").stdout
    assert "there is no rank 2" in cli(tmp_path, "timeline", "runs", "--rank", "2").stderr


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex that is all zeroes is Linux's")
def test_a_rank_is_killed_and_the_others_are_stuck(tmp_path: Path) -> None:
    """Rank 0 is killed at once, the others wait for it and hear no signal: the lowest of them reports, and they die of
    the launcher's SIGTERM, not after its patience by SIGKILL."""
    done = launch(tmp_path, 3, write(tmp_path, TRAINING + KILLED))
    assert 1 == done.reports, done.stderr
    assert "Signal 9 (SIGKILL) received" in done.stderr and 2 == done.stderr.count("exitcode  : -15")
    assert done.report is not None
    assert ["killed", "interrupted", "interrupted"] == [rank["status"] for rank in done.report["run"]["ranks"]]
    assert [1, 2] == done.report["findings"][0]["ranks"] and "note: rank 0: killed" in done.stderr
