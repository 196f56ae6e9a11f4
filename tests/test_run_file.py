"""A run folder kept open: what becomes of one that grows, is cut, goes away, or is another one."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradscope.errors import DamagedRecord
from gradscope.events import Point
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META
from gradscope.record.reader import read_findings, read_record
from gradscope.record.record import OptimizerRecord
from gradscope.record.run_file import RunFile
from gradscope.record.table import array_columns
from tests.run_folders import Loop, assert_as_eager, eager, only


def test_a_run_that_grows_is_followed(tmp_path: Path) -> None:
    """After each refresh the record is what one read anew is; records handed out before stay as they were."""
    loop, run = Loop(tmp_path), RunFile(tmp_path)
    with pytest.raises(DamagedRecord):
        run.record
    seen: list[tuple[int, OptimizerRecord]] = []
    revisions = {run.revision}
    for count, more in ((3, 0), (2, 0), (4, 2), (1, 0)):
        if more:
            loop.widen(more)
        loop.steps(count).find(loop.row)
        assert run.refresh()
        assert_as_eager(tmp_path, only(run.record))
        again = read_record(tmp_path)
        assert (again.meta, again.partition, again.sites) == (run.record.meta, run.record.partition, run.record.sites)
        assert again.facts.entries == run.record.facts.entries and len(again.facts.entries) > 0
        assert [loop.row] == again.metrics[0].row.tolist()[-1:] == run.record.metrics[0].row.tolist()[-1:]
        assert read_findings(tmp_path) == run.findings
        assert only(again).counters.keys() == only(run.record).counters.keys()
        assert RunFile(tmp_path).revision == run.revision
        revisions.add(run.revision)
        seen.append((loop.row, only(run.record)))
    assert 5 == len(revisions)
    for rows, found in seen:
        assert list(range(rows)) == found.measured.tolist()
        expected = eager(tmp_path, "0/arrays", array_columns(5))["norm"][:rows, Point.BEFORE_STEP]
        np.testing.assert_array_equal(found.grad_norm(Point.BEFORE_STEP), expected[:, : len(found.parameters)])


def test_where_nothing_is_new_nothing_is_done(tmp_path: Path) -> None:
    """The same record, the same revision."""
    Loop(tmp_path).steps(3)
    run = RunFile(tmp_path)
    record, revision = run.record, run.revision
    assert not run.refresh()
    assert run.record is record and revision == run.revision


@pytest.mark.parametrize("file", [INDEX, FINDINGS])
def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path, file: str) -> None:
    """Byte after byte: nothing before the last one, nothing twice after it."""
    loop = Loop(tmp_path).steps(3).find(2)
    run = RunFile(tmp_path)
    sites, findings = len(run.record.sites), len(run.findings)
    site = {"site": 1, "file": "ü.py", "line": 3, "function": ""}
    line = json.dumps({"id": "x", "code": "GS101", "order": 9} if file == FINDINGS else site, ensure_ascii=False)
    whole = (line + "\n").encode()
    for count, byte in enumerate(whole, 1):
        with open(tmp_path / file, "ab") as out:
            out.write(bytes([byte]))
        run.refresh()
        new = (len(run.record.sites) - sites, len(run.findings) - findings)
        assert (0, 0) == new if count < len(whole) - 1 else 1 == sum(new)
    assert loop.row == len(only(run.record).rows)


def test_bytes_that_come_after_their_line_are_read_when_they_are_there(tmp_path: Path) -> None:
    """As on network file systems: damaged at first, whole at the next refresh, and in its place."""
    Loop(tmp_path / "whole").steps(3).steps(4).steps(2)
    data, late = (tmp_path / "whole" / DATA).read_bytes(), tmp_path / "late"
    shutil.copytree(tmp_path / "whole", late)
    (late / DATA).write_bytes(data[:400])
    run = RunFile(late)
    assert "damaged" in run.record.meta.notes[0]
    before = run.revision
    with open(late / DATA, "ab") as out:
        out.write(data[400:])
    assert run.refresh() and before != run.revision
    assert run.record.meta.notes == []
    assert list(range(9)) == only(run.record).measured.tolist()
    assert [3, 7, 9] == run.record.metrics[0].row.tolist()
    assert_as_eager(late, only(run.record))


def test_another_run_in_the_same_place_is_read_anew(tmp_path: Path) -> None:
    """The record handed out before still reads its own bytes."""
    folder = tmp_path / "run"
    Loop(folder).steps(5).find(3)
    run = RunFile(folder)
    before = only(run.record)
    expected = eager(folder, "0/arrays", array_columns(3))
    shutil.rmtree(folder)
    Loop(folder, 4).steps(2).steps(7)
    assert run.refresh()
    assert (9, 4, []) == (len(only(run.record).rows), len(only(run.record).parameters), run.findings)
    assert_as_eager(folder, only(run.record))
    np.testing.assert_array_equal(before.arrays["weight_norm"], expected["weight_norm"])


def test_files_written_over_are_read_anew(tmp_path: Path) -> None:
    """The same files with other contents, and longer than before."""
    Loop(tmp_path / "a").steps(3)
    Loop(tmp_path / "b", 4).steps(5).steps(2)
    run = RunFile(tmp_path / "a")
    assert 3 == len(only(run.record).rows)
    for name in (DATA, META, INDEX, FINDINGS):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    assert run.refresh()
    assert_as_eager(tmp_path / "b", only(run.record))
    assert 7 == len(only(run.record).rows)


@pytest.mark.parametrize("file", [DATA, INDEX])
def test_a_file_that_becomes_shorter_is_read_anew(tmp_path: Path, file: str) -> None:
    """What a record had not read yet is an error then, not the end of the process."""
    Loop(tmp_path).steps(5).steps(4)
    run = RunFile(tmp_path)
    before = only(run.record)
    content = (tmp_path / file).read_bytes()
    with open(tmp_path / file, "r+b") as out:
        out.truncate(len(content) // 2)
    if file == DATA:
        with pytest.raises(DamagedRecord, match="shorter"):
            before.arrays["weight_norm"]
    assert run.refresh()
    assert 5 == len(only(run.record).measured)
    assert_as_eager(tmp_path, only(run.record))


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    """Gone: no record and no finding, one sentence; a run that comes in its place is read."""
    folder = tmp_path / "run"
    run = RunFile(folder)
    assert not run.refresh()
    for _ in range(2):
        Loop(folder).steps(4).find(2)
        assert run.refresh() and [1, 4] == [len(run.findings), len(only(run.record).rows)]
        shutil.rmtree(folder)
        assert run.refresh() and run.findings == []
        with pytest.raises(DamagedRecord, match="missing"):
            run.record
        with pytest.raises(DamagedRecord, match="missing"):
            run.meta
