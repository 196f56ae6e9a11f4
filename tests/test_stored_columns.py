"""The arrays of a record on disk: what is read of them, when, and how long it is kept."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.events import GradState, Point
from gradscope.record.chunks import INDEX
from gradscope.record.data_file import DataFile
from gradscope.record.reader import read_record
from gradscope.record.run_file import RunFile
from gradscope.record.stored_columns import ColumnCache
from gradscope.record.table import array_columns
from tests.run_folders import Loop, assert_as_eager, eager, lines_of, only


def exchange_lines(folder: Path, table: str) -> None:
    """The first two chunks of a table, the other way round."""
    lines = lines_of(folder)
    first, second = [i for i, line in enumerate(lines) if line.get("chunk") == table][:2]
    lines[first], lines[second] = lines[second], lines[first]
    (folder / INDEX).write_text("".join(json.dumps(line) + "\n" for line in lines))


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


def test_what_nobody_saw_is_not_seen(tmp_path: Path) -> None:
    """Rows before a parameter was added: no state, no norm."""
    Loop(tmp_path).steps(2).widen(1).steps(1)
    found = only(RunFile(tmp_path).record)
    assert [GradState.NOT_SEEN, GradState.NOT_SEEN, 2] == found.grad_state(Point.BEFORE_STEP)[:, 3].tolist()
    assert [True, True, False] == np.isnan(found.grad_norm(Point.BEFORE_STEP)[:, 3]).tolist()
    assert np.isnan(found.arrays["norm"][0][:, 3]).all() and not found.arrays["state"][0][:, 3].any()
    assert [[0.1, pytest.approx(np.nan, nan_ok=True)]] == found.lr[:1].tolist()
