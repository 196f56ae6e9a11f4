"""Damaged files: the fuzzing itself (`python -m tests.fuzzing`), a few inputs of it, and what it has found."""
from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradscope import config
from gradscope.cli import main
from gradscope.config import read_config
from gradscope.diagnosis import diagnose
from gradscope.errors import UsageError
from gradscope.findings import shorten
from gradscope.quoting import line_of
from gradscope.ranks.claim import SIGN, State, state_of
from gradscope.ranks.joining import Launched, join
from gradscope.record.chunks import FINDINGS, INDEX, META
from gradscope.record.reader import read_record
from gradscope.record.record import Meta, Record
from gradscope.reporters import terminal
from gradscope.reporters.report import Report
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import select
from gradscope.trying.plan import Told
from tests.fuzzing import guarded
from tests.fuzzing.damage import CANARY, PICKLE
from tests.records import record
from tests.run_folders import Loop
from tests.shell import environment

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fuzzing needs /proc and forks")


def test_damaged_inputs_are_read_or_refused() -> None:
    """A hundred of them, the same each time (many: `python -m tests.fuzzing --inputs 20000`): no traceback, no limit
    passed, nothing executed, nothing written elsewhere.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", "--inputs", "100"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    assert re.search(r"^100 inputs \(seed 0\), \d+ readings, 0 inputs with something wrong$", done.stdout, re.MULTILINE)


def _forever() -> tuple[str, str]:
    while True:
        pass


def _written_elsewhere() -> tuple[str, str]:
    Path("../elsewhere").write_text("x")
    return "read", ""


SINS: dict[str, tuple[Callable[[], Any], str]] = {
    "an error": (lambda: json.loads("["), "JSONDecodeError"),
    "too much memory": (lambda: bytes(4 << 30), "MemoryError"),
    "too much time": (_forever, "took more than"),
    "a pickle": (lambda: pickle.loads(PICKLE), "pickle.find_class"),
    "a file that is executed": (lambda: exec(f"open({CANARY!r}, 'w').close()") or ("read", ""), "compiled"),
    "a file elsewhere": (_written_elsewhere, "opened for writing"),
    "a device": (lambda: ("read", open("/dev/zero").read(1) and ""), "'/dev/zero' was opened"),
    "a process": (lambda: ("read", str(os.system("true"))), "os.system"),
    "nothing": (lambda: ("read", ""), ""),
}


@pytest.mark.parametrize("sin", SINS)
def test_the_fuzzing_sees(sin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that a reader must not do is told of, so that silence means that it was not done."""
    monkeypatch.setattr(guarded, "SECONDS", 0.5)
    (tmp_path / "work").mkdir()
    reader, wrong = SINS[sin]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has threads; the fork needs none of them
        [seen] = guarded.watched([("a reader", reader)], tmp_path)
    assert wrong in seen.wrong if wrong else seen.wrong == ""


# -- what it has found ----------------------------------------------------------------------------------------------


SETTINGS = {
    "brackets": "select = " + "[" * 100_000,
    "digits": "budget = " + "9" * 5000,
    "beyond all bounds": "memory = 1e308",
    "no such disk": "disk = 1" + "0" * 400,
    "a long name": "a" * 10_000 + " = 1",
}


@pytest.mark.parametrize("text", SETTINGS.values(), ids=SETTINGS)
def test_settings_beyond_all_bounds(text: str, tmp_path: Path) -> None:
    """Refused in one sentence, short enough to be read."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.gradscope]\n{text}\n")
    with pytest.raises(UsageError) as refused:
        read_config(tmp_path)
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)
    with pytest.raises(UsageError) as refused:
        select(("x" * 100_000,))
    assert len(str(refused.value)) < 400


def test_settings_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's file: one sentence, not a traceback."""
    (tmp_path / "pyproject.toml").write_text("")

    def denied(self: Path, **how: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(config.Path, "read_text", denied)
    with pytest.raises(UsageError, match="pyproject.toml cannot be read: .*Permission denied"):
        read_config(tmp_path)


@pytest.mark.parametrize("name", [META, INDEX, FINDINGS])
def test_files_larger_than_there_is_room_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused in one sentence: a sparse file of a terabyte takes no room on the disk."""
    Loop(tmp_path).steps(3).find(2).flush()
    with open(tmp_path / name, "ab") as file:
        file.truncate(1 << 40)
    for command in (["report"], ["report", "--rediagnose"], ["timeline"]):
        code = main([*command, str(tmp_path)])
        said = capsys.readouterr()
        if name == FINDINGS and command == ["timeline"] or code:
            assert (1, "") == (code, said.out)
            assert f"{name} is larger than there is room for" in said.err and 1 == said.err.count("\n")
        else:
            assert (name, ["report"]) == (INDEX, command)  # which needs no rows


def test_a_partition_names_each_optimizer_once(tmp_path: Path) -> None:
    """Otherwise the rules would look at it thousands of times."""
    Loop(tmp_path).steps(3)
    with open(tmp_path / INDEX, "a") as file:
        file.write(json.dumps({"partition": [[0], [0]] * 1000}) + "\n")
    read = read_record(tmp_path)
    assert ((0,),) == read.partition
    assert ["1 damaged parts of the record were left out"] == read.meta.notes


class Dividing(Rule):
    """As a rule does that meets a number beyond all bounds."""

    code, name, severity = "GS999", "dividing", "error"

    def check(self, record: Record) -> Any:
        np.float64(1e308) * np.float64(1e308) / np.zeros(1)
        return iter(())


def test_rules_compute_as_they_are_used_to() -> None:
    """Neither a warning on stderr nor an error, whatever the loop has set for its own numbers."""
    with np.errstate(all="raise"):
        found = diagnose(record(), [Dividing()])
    assert {} == found.skipped


@pytest.mark.parametrize("lines", ["9" * 5000, "\u00b2", "-1"])
def test_a_terminal_of_no_size(lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of it may be anything."""
    monkeypatch.setenv("LINES", lines)
    monkeypatch.setenv("COLUMNS", lines)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert terminal.render(Report(Meta(rows=3), (), {}))
    assert 20 < terminal.size(sys.stdout)[0] <= 1000


@pytest.mark.parametrize("kind", ["pipe", "device", "large", "circle", "nul", "folder"])
def test_lines_of_files_that_are_no_source(kind: str, tmp_path: Path) -> None:
    """A record names any file that it likes: a pipe is not waited for, a device not read to its end."""
    file = tmp_path / "train.py"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "large":
        with open(file, "wb") as out:
            out.truncate(1 << 40)
    elif kind == "folder":
        file.mkdir()
    elif kind != "nul":
        file.symlink_to("/dev/zero" if kind == "device" else file)
    assert "" == line_of(f"{file}\0" if kind == "nul" else str(file), 1)
    assert shorten(str(file), tmp_path)


def test_the_line_of_a_notebook_cell() -> None:
    """What python knows without a file is quoted, too."""
    import linecache

    linecache.cache["<a cell>"] = (9, None, ["loss.backward()\n"], "<a cell>")
    assert "loss.backward()\n" == line_of("<a cell>", 1)
    assert "import" in line_of(__file__, 4) + line_of(__file__, 2)


NOTES = {
    "brackets": "[" * 60_000,
    "above": '{"folder": "..", "at": 9e99, "parent": 1, "joined": 0}',
    "nothing": '{"folder": "", "at": 1, "parent": 1, "joined": 0}',
    "too long": '{"folder": "watch-' + "x" * 5000 + '", "at": 1, "parent": 1, "joined": 0}',
    "zeros": "\0" * 100,
}


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
def test_a_damaged_note_of_a_launch(note: str, tmp_path: Path) -> None:
    """The process makes a run folder of its own, in the log directory and nowhere else."""
    directory = tmp_path / "runs"
    process = Launched(1, 3, "launch")
    join(directory, "watch", process)
    [file] = directory.glob(".ranks-*")
    file.write_text(note)
    part = join(directory, "watch", process)
    assert directory == part.folder.parent and part.path.is_dir()
    assert ["runs"] == os.listdir(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "no number", "huge number"])
def test_a_damaged_sign(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a process lives is answered, at once."""
    sign = tmp_path / SIGN
    if kind == "pipe":
        os.mkfifo(sign)
    elif kind == "folder":
        sign.mkdir()
    else:
        sign.write_text(f"running\n{'9' * 100 if kind == 'huge number' else 'x'}\n{os.uname().nodename}\n")
    assert (state_of(tmp_path) is State.ABSENT) == (kind in ("pipe", "folder"))
    monkeypatch.setattr("gradscope.ranks.claim.fcntl", None)
    assert state_of(tmp_path) in State


def test_a_world_of_too_many_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a damaged number of ranks only those are told of that are there."""
    for rank in range(2):
        part = tmp_path / f"rank{rank}"
        Loop(part).steps(3).flush("finished")
        meta = json.loads((part / META).read_text())
        (part / META).write_text(json.dumps({**meta, "rank": rank, "world": 10**12}))
    assert 0 == main(["report", str(tmp_path)])
    assert "on 2 ranks" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[" * 100_000, '{"applied": [[]]}', '{"applied": 3}', '{"stopped": "x"}', "[1]", "{"])
def test_a_damaged_outcome_of_a_child(text: str, tmp_path: Path) -> None:
    """It counts as not told; a whole one is told."""
    (tmp_path / "outcome.json").write_text(text)
    assert Told.read(tmp_path / "outcome.json") is None
    Told(True, [3], "").write(tmp_path / "outcome.json")
    assert Told(True, [3], "") == Told.read(tmp_path / "outcome.json")
