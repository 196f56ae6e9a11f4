"""Records with damaged parts: these are left out, in all columns alike, and told; nothing ends the reader."""
from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.errors import DamagedRecord
from gradscope.events import Point
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META
from gradscope.record.reader import read_record
from gradscope.record.run_file import RunFile
from gradscope.record.table import array_columns, scalar_columns
from tests.run_folders import Loop, assert_as_eager, lines_of, only

COLUMNS = [*(("0/scalars", name) for name in scalar_columns(1)), *(("0/arrays", name) for name in array_columns(3))]


@pytest.mark.parametrize(("table", "name"), COLUMNS)
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
    damaged, whole = only(record).rows.tolist(), only(record).measured.tolist()
    if table == "0/arrays":
        damaged, whole = whole, damaged
    assert ([0, 1, 2, 7, 8], list(range(9))) == (damaged, whole)
    assert ["1 damaged parts of the record were left out"] == record.meta.notes
    assert_as_eager(tmp_path, only(record))


@pytest.mark.parametrize("table", ["0/counters", "0/losses/0", "metrics/0"])
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


@pytest.mark.parametrize("field", ["rows", "overhead", "strides", "exit_code", "rank"])
def test_numbers_beyond_all_bounds_are_refused(tmp_path: Path, field: str) -> None:
    """JSON knows an Infinity, which is no number of steps."""
    Loop(tmp_path).steps(3)
    meta = json.loads((tmp_path / META).read_text())
    meta[field] = [[math.inf, 1]] if field == "strides" else math.inf if field != "overhead" else 10**400
    (tmp_path / META).write_text(json.dumps(meta))
    with pytest.raises(DamagedRecord, match="damaged"):
        read_record(tmp_path)


@pytest.mark.parametrize("name", [META, INDEX, DATA, FINDINGS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, name: str, kind: str) -> None:
    """A pipe would be waited for, and /dev/zero has no end."""
    Loop(tmp_path).steps(3)
    place = tmp_path / name
    place.unlink()
    {"pipe": lambda: os.mkfifo(place), "folder": place.mkdir, "device": lambda: place.symlink_to("/dev/zero")}[kind]()
    run = RunFile(tmp_path)
    assert not run.refresh() and run.findings == []
    if name == META:
        with pytest.raises(DamagedRecord, match="missing or damaged"):
            run.record
    else:
        assert (3 if name == FINDINGS else 0) == sum(len(found.rows) for found in run.record.optimizers)


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
