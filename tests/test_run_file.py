"""A run folder kept open: what is read of it, when, and what becomes of one that is damaged, cut, or another one."""
from __future__ import annotations

import json
import math
import shutil
import weakref
import zlib
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.errors import DamagedRecord
from gradscope.events import GradState, Point, Site
from gradscope.facts.fact import FactLog
from gradscope.facts.loop import SkippedStep
from gradscope.findings import Finding
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META
from gradscope.record.data_file import DataFile
from gradscope.record.metrics import MetricSums
from gradscope.record.reader import read_findings, read_record
from gradscope.record.record import Meta, OptimizerRecord, Parameter, Record
from gradscope.record.rowstore import Columns, pad
from gradscope.record.run_file import RunFile
from gradscope.record.run_folder import RunFolder
from gradscope.record.stored_columns import ColumnCache
from gradscope.record.table import OptimizerTable, array_columns, scalar_columns

TABLES = ("0/scalars", "0/arrays", "0/counters", "0/losses/0", "metrics/0")


class Loop:
    """Writes a run of invented numbers, which can be told from each other."""

    def __init__(self, folder: Path, parameters: int = 3) -> None:
        self.folder, self.row = folder, 0
        self.table = OptimizerTable(0, "SGD", _parameters(parameters), 1)
        self.out, self.facts = RunFolder(folder, print), FactLog()
        self.metric = MetricSums(0, "val_loss", "log", (0,), 0)
        weakref.finalize(self, self.out.close)
        self.out.described(self.table)

    def steps(self, count: int) -> Loop:
        """So many steps, and a chunk of each table."""
        size = len(self.table.parameters)
        for row in range(self.row, self.row + count):
            norm = row + np.arange(5 * size, dtype=np.float32).reshape(5, size) / 100
            weight, update = norm[0] + 1000, np.full(size, np.nan, np.float32)
            state = np.full((5, size), row % 6, np.uint8)
            arrays = {"row": row, "state": state, "norm": norm, "weight_norm": weight, "update_norm": update}
            scalars = [(row, row / 2, row / 2, 0, 1.0, 1, 64, 0, 0, 0, float(row), [0.1] * self.table.groups)]
            self.out.rows(self.table, self.table.extend(scalars, [arrays]), [(0, arrays)])
        self.row += count
        self.facts.add(SkippedStep(self.row, 0))
        self.out.metric(self.metric, self.row, float(self.row))
        return self.flush()

    def widen(self, more: int) -> Loop:
        """Parameters and a group more."""
        self.table.widen(_parameters(len(self.table.parameters) + more), self.table.groups + 1)
        self.out.described(self.table)
        return self

    def find(self, last: int) -> Loop:
        self.out.finding(Finding("GS101", "missing-zero-grad", "error", "m", (0, last), step=last))
        return self

    def flush(self, status: str = "running") -> Loop:
        meta = Meta("train.py", ("--lr", "1"), status, rows=self.row)
        self.out.flush([self.table], [Site("train.py", 3, "main")], ((0,),), self.facts, meta, last=True)
        return self


def _parameters(count: int) -> tuple[Parameter, ...]:
    return tuple(Parameter(f"blocks.{i}.weight", (2, i), 0, "float32", count - i) for i in range(count))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / INDEX).read_text().splitlines(keepends=True) if line.endswith("\n")]


def chunks_of(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """The chunks of a table, read in the obvious manner."""
    data = (folder / DATA).read_bytes()
    for line in lines_of(folder):
        if line.get("chunk") == table:
            blob, at, columns = data[line["at"] : line["at"] + line["bytes"]], 0, {}
            if len(blob) == line["bytes"] and zlib.crc32(blob) == line["crc"]:
                for name, dtype, shape in line["columns"]:
                    columns[name] = np.frombuffer(blob, dtype, math.prod(shape), at).reshape(shape)
                    at += columns[name].nbytes
                yield columns


def eager(folder: Path, table: str, wanted: Columns) -> dict[str, Any]:
    """The columns of a table, all read at once."""
    parts = [pad(part, wanted) for part in chunks_of(folder, table)]
    joined = {n: np.concatenate([np.empty((0, *s), d), *(p[n] for p in parts)]) for n, (d, s) in wanted.items()}
    order = np.argsort(joined["row"], kind="stable")
    return {name: column[order] for name, column in joined.items()}


def assert_as_eager(folder: Path, found: OptimizerRecord) -> None:
    groups = found.lr.shape[1]
    scalars = eager(folder, "0/scalars", scalar_columns(groups))
    arrays = eager(folder, "0/arrays", array_columns(len(found.parameters)))
    assert (list(scalars), list(arrays)) == (list(found.scalars), list(found.arrays))
    for name, column in scalars.items():
        np.testing.assert_array_equal(found.scalars[name], column)
        assert (column.dtype, column.shape) == (found.scalars[name].dtype, found.scalars[name].shape)
    for name, column in arrays.items():
        lazy = found.arrays[name]
        assert (column.dtype, column.shape, len(column)) == (lazy.dtype, lazy.shape, len(lazy))
        for at in range(len(column)):
            np.testing.assert_array_equal(lazy[at], column[at])
        np.testing.assert_array_equal(lazy, column)
    for point in Point:
        np.testing.assert_array_equal(found.grad_norm(point), arrays["norm"][:, point])
        np.testing.assert_array_equal(found.grad_state(point), arrays["state"][:, point])


def only(record: Record) -> OptimizerRecord:
    (found,) = record.optimizers
    return found


def exchange_lines(folder: Path, table: str) -> None:
    """The first two chunks of a table, the other way round."""
    lines = lines_of(folder)
    first, second = [i for i, line in enumerate(lines) if line.get("chunk") == table][:2]
    lines[first], lines[second] = lines[second], lines[first]
    (folder / INDEX).write_text("".join(json.dumps(line) + "\n" for line in lines))


# -- what is read ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=6), st.booleans())
@settings(max_examples=40)
def test_lazy_and_eager_reading_give_the_same(tmp_path_factory, parts: list[tuple[int, int]], swapped: bool) -> None:
    """Any number of chunks, tables that were widened between them, chunks that stand in another order."""
    loop = Loop(tmp_path_factory.mktemp("run")).steps(2)
    for count, more in parts:
        if more:
            loop.widen(more)
        if count:
            loop.steps(count)
    if swapped and loop.row > 2:
        exchange_lines(loop.folder, "0/arrays")
    record = read_record(loop.folder)
    assert record.meta.notes == []
    assert only(record).measured.tolist() == only(record).rows.tolist() == list(range(loop.row))
    assert_as_eager(loop.folder, only(record))


def test_a_column_of_three_axes_is_an_array_for_its_readers(tmp_path: Path) -> None:
    """Whatever numpy can do to one: index, slice, compare, convert; and nobody writes into what is shared."""
    loop = Loop(tmp_path).steps(3).widen(1).steps(3)
    lazy, whole = only(read_record(tmp_path)).arrays["norm"], eager(tmp_path, "0/arrays", array_columns(4))["norm"]
    keys: tuple[Any, ...] = (0, -1, np.int64(2), slice(1, 5, 2), (slice(None), Point.BEFORE_STEP), (slice(2, 4), -1))
    keys += ((np.array([0, 4]), 1), (np.arange(6) > 3, 1), (2, 3), (2, 3, 1), (Ellipsis, 0), (slice(None), slice(1, 3)))
    keys += (np.arange(6) > 2, None, (slice(None), 1, 2), np.array(3), [1, 2])
    for key in keys:
        np.testing.assert_array_equal(lazy[key], whole[key])
    np.testing.assert_array_equal(lazy > 2, whole > 2)
    np.testing.assert_array_equal(3 - lazy, 3 - whole)
    np.testing.assert_array_equal(np.isnan(lazy), np.isnan(whole))
    np.testing.assert_array_equal(np.asarray(lazy, np.float64), whole.astype(np.float64))
    np.testing.assert_array_equal(lazy.astype(np.float64).max(axis=0), whole.astype(np.float64).max(axis=0))
    np.testing.assert_array_equal(np.stack(list(lazy)), whole)
    assert (3, (6, 5, 4), loop.row) == (lazy.ndim, lazy.shape, len(lazy))
    for key in (6, -7, (0, 5), (slice(None), 5)):
        with pytest.raises(IndexError):
            lazy[key]
    with pytest.raises(ValueError, match="read-only"):
        only(read_record(tmp_path)).grad_norm(Point.BEFORE_STEP)[0] = 1.0


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a checked record, a row costs the bytes of a row, a point those of its column, and the second time nothing."""
    read: list[int] = []
    plain = DataFile._read

    def counted(self: DataFile, at: int, buffer: memoryview) -> None:
        read.append(len(buffer))
        plain(self, at, buffer)

    Loop(tmp_path, 50).steps(20).steps(20)
    found = only(RunFile(tmp_path).record)
    found.measured
    monkeypatch.setattr(DataFile, "_read", counted)
    for ask, expected in (
        (lambda: found.arrays["norm"][30], 5 * 50 * 4),
        (lambda: found.arrays["state"][3, Point.BEFORE_STEP], 5 * 50),
        (lambda: found.grad_norm(Point.BEFORE_STEP), 40 * 5 * 50 * 4),
        (lambda: found.grad_norm(Point.BEFORE_STEP), 0),
        (lambda: found.arrays["weight_norm"], 40 * 50 * 4),
        (lambda: found.rows, 0),
    ):
        read.clear()
        ask()
        assert expected == sum(read)


def test_of_a_run_that_grows_only_the_new_chunk_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that were read are longer after the refresh, for the bytes of what is new."""
    loop = Loop(tmp_path, 50).steps(200)
    run = RunFile(tmp_path)
    only(run.record).grad_norm(Point.BEFORE_STEP)
    loop.steps(1)
    assert run.refresh()
    read: list[int] = []
    plain = DataFile._read
    monkeypatch.setattr(DataFile, "_read", lambda self, at, part: (read.append(len(part)), plain(self, at, part))[1])
    assert (201, 50) == only(run.record).grad_norm(Point.BEFORE_STEP).shape
    assert 0 < sum(read) < 50_000, "200 rows are 200,000 bytes"
    assert_as_eager(tmp_path, only(run.record))


def test_the_cache_keeps_to_its_bound_and_forgets_what_is_closed(tmp_path: Path) -> None:
    """Shared by two runs: the columns used last stay; a column of more than half of it is not kept."""
    for name in "ab":
        Loop(tmp_path / name, 50).steps(40)
    point = 40 * 50 * 4
    cache = ColumnCache(3 * point)
    a, b = RunFile(tmp_path / "a", cache), RunFile(tmp_path / "b", cache)
    first = only(a.record).grad_norm(Point.BEFORE_STEP)
    for run in (a, b):
        for name in ("weight_norm", "update_norm", "norm"):
            only(run.record).arrays[name][:]
            only(a.record).grad_norm(Point.BEFORE_STEP)
            assert cache.held <= cache.limit
    assert np.shares_memory(first, only(a.record).grad_norm(Point.BEFORE_STEP))
    assert not np.shares_memory(only(b.record).arrays["weight_norm"], only(b.record).arrays["norm"][:, 0])
    assert cache.held > 2 * point
    a.close()
    assert not np.shares_memory(first, only(a.record).grad_norm(Point.BEFORE_STEP))
    assert_as_eager(tmp_path / "a", only(a.record))
    a.close()
    b.close()
    assert 0 == cache.held


# -- what is damaged ---------------------------------------------------------------------------------------------------


def columns_of(table: str) -> list[str]:
    wanted = {"0/scalars": scalar_columns(1), "0/arrays": array_columns(3)}.get(table)
    return ["row"] if wanted is None and table != "metrics/0" else list(wanted or ("row", "value"))


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in TABLES[:2] for n in columns_of(t)])
def test_a_flipped_bit_in_any_column_leaves_out_its_rows_in_all_of_them(tmp_path: Path, table: str, name: str) -> None:
    """The second of three chunks: the others are there, and a note says what is not."""
    Loop(tmp_path).steps(3).steps(4).steps(2)
    chunk = [line for line in lines_of(tmp_path) if line.get("chunk") == table][1]
    sizes = {n: np.dtype(dtype).itemsize * math.prod(shape) for n, dtype, shape in chunk["columns"]}
    before = list(sizes)[: list(sizes).index(name)]
    data = bytearray((tmp_path / DATA).read_bytes())
    data[chunk["at"] + sum(sizes[n] for n in before) + sizes[name] - 1] ^= 4
    (tmp_path / DATA).write_bytes(data)
    record = read_record(tmp_path)
    kept = [0, 1, 2, 7, 8]
    rows = (only(record).rows.tolist(), only(record).measured.tolist())
    assert (kept if table == TABLES[0] else list(range(9)), kept if table == TABLES[1] else list(range(9))) == rows
    assert ["1 damaged parts of the record were left out"] == record.meta.notes
    assert_as_eager(tmp_path, only(record))


@pytest.mark.parametrize("table", TABLES[2:])
def test_a_flipped_bit_in_what_is_written_whole(tmp_path: Path, table: str) -> None:
    """Of counters, blocks of losses and metrics an older chunk stands in, or less is known."""
    loop = Loop(tmp_path).steps(3).steps(4)
    chunk = [line for line in lines_of(tmp_path) if line.get("chunk") == table][-1]
    data = bytearray((tmp_path / DATA).read_bytes())
    data[chunk["at"] + 1] ^= 4
    (tmp_path / DATA).write_bytes(data)
    record = read_record(tmp_path)
    assert ["1 damaged parts of the record were left out"] == record.meta.notes
    assert loop.row == len(only(record).rows)
    assert (3 if table == "0/losses/0" else 7) == int(only(record).losses[0]["count"].sum())
    assert ([3] if table == "metrics/0" else [3, 7]) == record.metrics[0].row.tolist()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_cut_off_data_is_read_as_far_as_it_goes(tmp_path: Path, share: float) -> None:
    """Every column ends with the same whole chunk."""
    Loop(tmp_path).steps(3).widen(1).steps(4).steps(2)
    data = (tmp_path / DATA).read_bytes()
    (tmp_path / DATA).write_bytes(data[: int(share * len(data))])
    record = read_record(tmp_path)
    assert "damaged" in record.meta.notes[0]
    for found in record.optimizers:
        assert_as_eager(tmp_path, found)
    assert len(record.optimizers) == (share >= 0.2)


def test_chunks_that_do_not_fit_their_description_are_counted(tmp_path: Path) -> None:
    """Whole, but of other columns than the optimizer has: left out, and told."""
    Loop(tmp_path).steps(3).steps(2)
    index = (tmp_path / INDEX).read_text().replace('["update_norm","<f4",[2,3]]', '["update_norm","<f4",[1,6]]')
    (tmp_path / INDEX).write_text(index)
    record = read_record(tmp_path)
    assert [0, 1, 2] == only(record).measured.tolist()
    assert ["1 damaged parts of the record were left out"] == record.meta.notes


@pytest.mark.parametrize("field", ["rows", "overhead", "strides", "exit_code"])
def test_numbers_beyond_all_bounds_are_refused(tmp_path: Path, field: str) -> None:
    """JSON knows an Infinity, which is no number of steps."""
    Loop(tmp_path).steps(3)
    meta = json.loads((tmp_path / META).read_text())
    meta[field] = [[math.inf, 1]] if field == "strides" else math.inf if field != "overhead" else 10**400
    (tmp_path / META).write_text(json.dumps(meta))
    with pytest.raises(DamagedRecord, match="damaged"):
        read_record(tmp_path)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["<f8", 0, 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def changed_lines(draw: Any) -> list[tuple[int, list[Any], Any]]:
    """Which lines, where in them, and what stands there instead."""
    change = st.tuples(st.integers(0, 30), st.lists(st.integers(0, 12), min_size=1, max_size=4), JUNK)
    return list(draw(st.lists(change, min_size=1, max_size=4)))


def change(line: Any, path: list[int], junk: Any) -> None:
    """Replace what stands at a path (each number: of the keys or items that are there, the n-th)."""
    for depth, step in enumerate(path):
        keys = list(line) if isinstance(line, dict) else list(range(len(line)))
        if not keys:
            return
        key = keys[step % len(keys)]
        if depth == len(path) - 1 or not isinstance(line[key], (dict, list)):
            line[key] = junk
            return
        line = line[key]


@given(changed_lines())
@settings(max_examples=150, deadline=None)
def test_any_index_is_read_or_refused(tmp_path_factory, changes: list[tuple[int, list[int], Any]]) -> None:
    """Lines of a real index with something else in them: a record whose columns can all be read, or DamagedRecord."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    if not folder.exists():
        Loop(folder).steps(3).widen(1).steps(2).find(3).flush("finished")
    lines = lines_of(folder)
    kept = (folder / INDEX).read_text()
    for number, path, junk in changes:
        change(lines[number % len(lines)], path, junk)
    try:
        (folder / INDEX).write_text("".join(json.dumps(line) + "\n" for line in lines))
        record = read_record(folder)
        for found in record.optimizers:
            sizes = {len(np.asarray(found.scalars[name])) for name in found.scalars}
            assert 1 == len(sizes)
            assert {len(found.measured)} == {len(np.asarray(found.arrays[name])) for name in found.arrays}
            found.grad_norm(Point.BEFORE_STEP)
    except DamagedRecord as error:
        assert str(error)
    finally:
        (folder / INDEX).write_text(kept)


# -- a run that goes on ------------------------------------------------------------------------------------------------


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


def test_what_nobody_saw_is_not_seen(tmp_path: Path) -> None:
    """Rows before a parameter was added: no state, no norm."""
    Loop(tmp_path).steps(2).widen(1).steps(1)
    found = only(RunFile(tmp_path).record)
    assert [GradState.NOT_SEEN, GradState.NOT_SEEN, 2] == found.grad_state(Point.BEFORE_STEP)[:, 3].tolist()
    assert [True, True, False] == np.isnan(found.grad_norm(Point.BEFORE_STEP)[:, 3]).tolist()
    assert np.isnan(found.arrays["norm"][0][:, 3]).all() and not found.arrays["state"][0][:, 3].any()
    assert [[0.1, pytest.approx(np.nan, nan_ok=True)]] == found.lr[:1].tolist()
