"""One run of many processes: which folder they write to, who of them reports, and what their parts say together."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gradscope
from gradscope.diagnosis import fold
from gradscope.findings import Finding
from gradscope.hooks.processes import Exchange, Place
from gradscope.ranks import leaving, telling
from gradscope.ranks.claim import Claim, State, state_of
from gradscope.ranks.gathering import gather, merged
from gradscope.ranks.joining import Launched, Part, join, launched
from gradscope.ranks.leaving import leave
from gradscope.ranks.telling import Teller
from gradscope.record.reader import find_run
from gradscope.record.record import Meta
from gradscope.record.search import part_of
from gradscope.reporters.report import RankEnd, Report, ranks_told
from gradscope.rules.catalogue import RULES
from tests.boards import plain_run
from tests.shell import environment

NAMED = ("SLURM_JOB_ID", "MASTER_ADDR", "TORCHELASTIC_RESTART_COUNT")  # that tests may run under
LAUNCH = {"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none", "MASTER_PORT": "29500"}


def started(rank: int, **changes: str) -> Launched:
    process = launched({**LAUNCH, "RANK": str(rank), **changes})
    assert process is not None
    return process


# -- joining ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [{}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "1"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "", **LAUNCH}],
)
def test_a_process_that_is_alone(environment: dict[str, str]) -> None:
    """Without a launcher, or the only one of its launch, it is no part of anything."""
    assert launched(environment) is None


def test_the_processes_of_a_launch_share_a_folder(tmp_path: Path) -> None:
    """Whoever comes first makes it; each has a part of its own."""
    second, first = (join(tmp_path, "train", started(rank)) for rank in (1, 0))
    assert first.folder == second.folder and first.folder.name.startswith("train-")
    assert {first.path, second.path} == {first.folder / "rank0", first.folder / "rank1"}


def test_another_launch_makes_another_folder(tmp_path: Path) -> None:
    """Told by its id, its attempt, by the rank that is there already, or by the report that has been made."""
    changes: list[dict[str, str]] = [{}, {"TORCHELASTIC_RUN_ID": "b"}, {"TORCHELASTIC_RESTART_COUNT": "1"}, {}]
    parts = [join(tmp_path, "train", started(0, **change)) for change in changes]
    (parts[-1].folder / "reported").touch()
    parts.append(join(tmp_path, "train", started(1)))
    assert parts[-1].folder == join(tmp_path, "train", started(0)).folder  # all are there:
    parts.append(join(tmp_path, "train", started(1)))  # this one begins another run
    assert 6 == len({part.folder for part in parts})


def test_a_damaged_note_is_made_anew(tmp_path: Path) -> None:
    """Whatever stands in the file by which processes find their folder: the run has one."""
    part = join(tmp_path, "train", started(0))
    (note,) = [entry for entry in tmp_path.iterdir() if entry.is_file()]
    elsewhere = b'{"folder": "../../elsewhere", "at": 1e999, "parent": 1, "joined": 0}'
    for text in (b"", b"{", b"[]", elsewhere, b"\xff" * 99):
        note.write_bytes(text)
        folder = join(tmp_path, "train", started(0)).folder
        assert folder.parent == tmp_path and folder != part.folder


def test_watch_writes_one_folder_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by a launcher, `watch` with a log directory writes this rank's part of the folder that all share."""
    for name, value in {**LAUNCH, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    other = join(tmp_path, "watch", started(1, **{name: os.environ.get(name, "") for name in NAMED}))
    with gradscope.watch(log_dir=tmp_path) as scope:
        pass
    made = [folder for folder in other.folder.iterdir() if (folder / "meta.json").exists()]
    assert [part_of(other.folder, 0)] == made
    assert (0, 2) == (scope.record.meta.rank, scope.record.meta.world)
    assert find_run(tmp_path) == other.folder and [other.folder] == list(tmp_path.iterdir())


# -- who reports ------------------------------------------------------------------------------------------------------


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, list[State]]]:
    """By rank its states, one a look; the last of them stays."""
    script: dict[int, list[State]] = {}

    def look(part: Path) -> State:
        mine = script[int(part.name[4:])]
        return mine.pop(0) if len(mine) > 1 else mine[0]

    monkeypatch.setattr(leaving, "state_of", look)
    yield script


def of(folder: Path, rank: int, world: int) -> Part:
    return Part(folder, rank, world, Claim(part_of(folder, rank)))


RUNNING, CLOSED, LEFT, KILLED, ABSENT = State.RUNNING, State.CLOSED, State.LEFT, State.KILLED, State.ABSENT


@pytest.mark.parametrize(
    ("rank", "others", "reports"),
    [
        (0, {1: [CLOSED], 2: [CLOSED]}, True),
        (0, {1: [RUNNING, CLOSED], 2: [RUNNING, RUNNING, KILLED]}, True),
        (0, {1: [RUNNING], 2: [CLOSED]}, False),
        (0, {1: [CLOSED], 2: [ABSENT]}, True),
        (1, {0: [RUNNING], 2: [CLOSED]}, False),
        (1, {0: [CLOSED], 2: [CLOSED]}, False),
        (1, {0: [KILLED], 2: [RUNNING, CLOSED]}, True),
        (2, {0: [LEFT], 1: [LEFT]}, True),
        (2, {0: [LEFT], 1: [RUNNING]}, False),
        (1, {0: [LEFT], 2: [RUNNING]}, False),
        (2, {0: [KILLED], 1: [KILLED]}, True),
    ],
)
def test_who_reports(
    rank: int, others: dict[int, list[State]], reports: bool, states: dict[int, list[State]], tmp_path: Path
) -> None:
    """The lowest rank that is there, once the others have ended; where it does not wait so long, the last one."""
    states.update(others)
    assert reports == leave(of(tmp_path, rank, 3), age=100.0, patience=0.3)
    assert reports == (tmp_path / "reported").exists()


def test_only_one_reports(states: dict[int, list[State]], tmp_path: Path) -> None:
    """Two that leave at the same moment each find that all others have ended."""
    states.update({0: [LEFT], 1: [LEFT]})
    assert [True, False] == [leave(of(tmp_path, rank, 2), age=100.0, patience=0.0) for rank in (0, 1)]


def test_a_lock_tells_who_lives(tmp_path: Path) -> None:
    """Running, closed, left; and killed, at once, without a word."""
    code = (
        "import sys; from pathlib import Path; from gradscope.ranks.claim import Claim, State\n"
        "claim = Claim(Path(sys.argv[1]))\n"
        "for state in State.RUNNING, State.CLOSED, State.LEFT, State.RUNNING:\n"
        "    claim.say(state); print(flush=True); sys.stdin.readline()\n"
    )
    part, pipe = tmp_path / "rank0", subprocess.PIPE
    assert ABSENT is state_of(part)
    command = [sys.executable, "-c", code, str(part)]
    with subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for expected in (RUNNING, CLOSED, LEFT):
            process.stdout.readline()
            assert expected is state_of(part)
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdout.readline()
        assert RUNNING is state_of(part)
        process.kill()
        process.wait()
        assert KILLED is state_of(part)


# -- what the parts say together --------------------------------------------------------------------------------------


def finding(code: str, severity: str = "warning", steps: tuple[int, int] = (3, 9)) -> Finding:
    return Finding(code, "name", severity, "message", steps, step=steps[0])


def test_findings_are_merged_by_identity() -> None:
    """Once each, as the rank says it that takes it most seriously; a rule that compares ranks names them."""
    together = replace(finding("GS801"), evidence={"ranks": [0, 2]})
    mild, bad = finding("GS401", "info", (1, 20)), finding("GS401", "error", (5, 9))
    found = merged({0: [mild, finding("GS102")], 2: [bad], 5: [bad, together]}, lambda f: fold(f, RULES))
    told = {f.code: (f.severity, f.steps, f.step, f.ranks) for f in found}
    assert ("error", (1, 20), 1, (0, 2, 5)) == told["GS401"]
    assert ("warning", (3, 9), 3, (0,)) == told["GS102"]
    assert (0, 2) == told["GS801"][3]


def test_how_ranks_are_told() -> None:
    """Spans, and "only" where not all that left a record have the finding."""
    assert ["rank 2", "ranks 0-3, 6", "ranks 1, 3"] == [ranks_told(r) for r in ([2], [0, 1, 2, 3, 6], [3, 1])]
    ends = tuple(RankEnd(rank, "finished", 0, 10) for rank in range(3))
    report = Report(Meta(optimizers=["SGD"]), (), {}, ranks=ends)
    assert "steps 3-9, rank 1 only" == report.whose(replace(finding("GS102"), ranks=(1,)))
    assert "steps 3-9, ranks 0-2" == report.whose(replace(finding("GS102"), ranks=(0, 1, 2)))


def test_how_ranks_ended_is_told(tmp_path: Path) -> None:
    """What only some say stands with their ranks; a rank that left nothing is named."""
    reports = {
        0: Report(Meta(world=3, rows=8, status="crashed", exit_code=1, notes=["of both"]), (), {"GS901": "why"}),
        1: Report(Meta(world=3, rows=9, status="interrupted", exit_code=143, notes=["of both", "of one"]), (), {}),
    }
    report = gather(tmp_path, lambda findings: findings, None, reports)
    assert ("crashed", 1, 9, 3) == (report.meta.status, report.meta.exit_code, report.meta.rows, report.meta.world)
    assert {"GS901": "rank 0: why"} == report.skipped
    assert [
        "rank 0: crashed at step 7 (exit code 1)",
        "rank 1: interrupted at step 8 (exit code 143)",
        "rank 2: left no record here",
        "of both",
        "rank 1: of one",
    ] == list(report.notes)


def test_how_far_a_killed_rank_came(tmp_path: Path) -> None:
    """Its meta data lag behind; its rows tell. Without its process's sign it is taken for killed."""
    plain_run(tmp_path / "rank0", steps=20)
    meta = json.loads((tmp_path / "rank0" / "meta.json").read_text())
    (tmp_path / "rank0" / "meta.json").write_text(json.dumps({**meta, "status": "running", "rows": 3}))
    report = gather(tmp_path, tuple, None)
    assert (20, "interrupted") == (report.meta.rows, report.meta.status)
    assert report.notes[0].startswith("rank 0: killed; it was last written at step 19, ")


# -- warnings of `watch` ----------------------------------------------------------------------------------------------


class Deaf:
    """A store, the holder of which has gone."""

    def add(self, key: str, more: int) -> int:
        raise RuntimeError("Connection reset by peer")


def test_only_one_of_them_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds it first; what only one finds is told, too. Without the others, rank 0 tells."""
    if not torch.distributed.is_available():
        pytest.skip("torch has been built without torch.distributed")
    store = torch.distributed.HashStore()
    tellers = [Teller() for _ in range(3)]

    def told(what: str, store: Any) -> list[bool]:
        answers = []
        for rank, teller in enumerate(tellers):
            monkeypatch.setattr(telling, "exchange", lambda: None if store is None else Exchange(store))
            monkeypatch.setattr(telling, "place", lambda rank=rank: Place(rank, 3))
            answers.append(teller.first(what))
        return answers

    assert [True, False, False] == told("GS101/0", store)
    assert [False] * 3 == told("GS101/0", store)
    assert [True, False, False] == told("GS102/0", None) == told("GS102/0", Deaf())
    for teller in tellers:
        teller.begin()
    assert [True, False, False] == told("GS101/0", store)
