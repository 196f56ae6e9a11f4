"""The record: bounded rows, chunks on disk, and the reader that trusts nothing."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.errors import DamagedRecord
from gradscope.events import Site
from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import MAX_EXAMPLES, FactLog
from gradscope.facts.learning_rate import StepGeometry
from gradscope.facts.loop import EarlySchedulerStep, EvalModeSteps, GraphAge, MissingStep, SkippedStep, UnownedParameter
from gradscope.facts.loss import LossKind
from gradscope.facts.numerics import LossScaling, LostUpdates, Underflow
from gradscope.findings import Finding
from gradscope.record.chunks import DATA, INDEX, META, ChunkWriter
from gradscope.record.reader import find_run, read_findings, read_record
from gradscope.record.record import Meta, Parameter
from gradscope.record.rowstore import RowStore
from gradscope.record.run_folder import RunFolder
from gradscope.record.table import OptimizerTable, array_columns, scalar_columns
from tests.run_folders import Loop

COLUMNS = {"row": (np.int64, ()), "value": (np.float32, (2,))}


def store_of(rows: int, head: int = 16, middle: int = 16, tail: int = 16) -> RowStore:
    store = RowStore(COLUMNS, head, middle, tail)
    for row in range(rows):
        store.append({"row": row, "value": (row, -row)})
    return store


@given(st.integers(0, 2000), st.integers(16, 40), st.integers(16, 40), st.integers(16, 40))
def test_rows_are_bounded_and_the_ends_stay_whole(rows: int, head: int, middle: int, tail: int) -> None:
    """First and newest rows are all there, in order, each with its own values; the whole never outgrows its parts."""
    kept = store_of(rows, head, middle, tail).snapshot()
    numbers = kept["row"].tolist()
    assert len(numbers) <= head + middle + tail
    assert numbers == sorted(set(numbers))
    assert numbers[:head] == list(range(min(rows, head)))
    assert numbers[-tail:] == list(range(rows))[-min(tail, len(numbers)) :]
    np.testing.assert_array_equal(kept["value"][:, 0], np.array(numbers, np.float32))


@given(st.lists(st.integers(0, 90), max_size=40), st.integers(16, 40), st.integers(16, 40), st.integers(16, 40))
def test_rows_taken_in_together_are_kept_like_single_ones(parts: list[int], head: int, middle: int, tail: int) -> None:
    """Whatever part of them falls into the head, the ring, or out of it."""
    store, at = RowStore(COLUMNS, head, middle, tail), 0
    for count in parts:
        rows = np.arange(at, at + count)
        store.extend({"row": rows, "value": np.stack([rows, -rows], axis=1)}, count)
        at += count
    expected = store_of(at, head, middle, tail)
    assert (expected.total, expected.stride) == (store.total, store.stride)
    for name, column in expected.snapshot().items():
        np.testing.assert_array_equal(store.snapshot()[name], column)


def test_a_live_view_needs_no_copy_and_a_snapshot_is_one() -> None:
    store = store_of(10)
    kept, snapshot = store.kept(), store.snapshot()
    assert np.shares_memory(kept["row"], store.kept()["row"])
    assert not np.shares_memory(kept["row"], snapshot["row"])
    assert {"row", "value"} == set(kept) and 2 == len(kept)


@given(st.integers(0, 600), st.integers(1, 4000), st.integers(0, 200))
def test_resizing_keeps_first_and_newest_rows_and_order(rows: int, limit: int, more: int) -> None:
    """Less memory means fewer rows, never wrong ones; appending goes on."""
    store = store_of(rows, 64, 64, 64)
    store.resize(limit)
    for row in range(rows, rows + more):
        store.append({"row": row, "value": (row, -row)})
    numbers = store.snapshot()["row"].tolist()
    assert numbers == sorted(set(numbers))
    if rows + more:
        assert numbers[0] == 0 and numbers[-1] == rows + more - 1


def test_widening_fills_with_not_seen() -> None:
    """Parameters added later are 0 or NaN in the rows before."""
    store = store_of(40)
    store.widen({"row": (np.int64, ()), "value": (np.float32, (3,))})
    store.append({"row": 40, "value": (1, 2, 3)})
    values = store.snapshot()["value"]
    assert np.isnan(values[:-1, 2]).all() and values[-1].tolist() == [1, 2, 3]


def test_facts_are_counted_not_thinned() -> None:
    """First, last and count see everything; of the examples the first few and the newest stay."""
    log = FactLog()
    for row in range(50):
        log.add(GraphAge(row, alive=row, oldest=0, chained=False, site=Site("a.py", 1)))
    (entry,) = [e for e in log.of(GraphAge)]
    assert log.of(MissingStep) == []
    log.add(SkippedStep(3, 0))
    assert len(log.entries) == 2
    assert (entry.first, entry.last, entry.count) == (0, 49, 50)
    assert len(entry.examples) == MAX_EXAMPLES and entry.newest.row == 49


@pytest.mark.parametrize(
    "fact",
    [
        MissingStep(3, 0, 101, 2, 0, 5, False, False, True, False, Site("train.py", 7, "main")),
        UnownedParameter(1, "a.b", (2, 3), "hidden", False, True),
        SkippedStep(2, 1),
        EarlySchedulerStep(3, 0, "scheduler", 0.1, 1, Site("train.py", 7, "main")),
        EvalModeSteps(9, 0, "model", "2 x Dropout", 10, 0, 10, False),
        GraphAge(19, 20, 0, True, Site("train.py", 7), "total", Site("train.py", 9), "total += loss.item()"),
        GraphAge(19, 20, 0, False, Site("train.py", 7)),
        LossKind(3, 0, "policy"),
        StepGeometry(3, 0, 1.0, 0.1, 2.0, 0.5),
        LossScaling(3, 0, 9, 4, 2, 3, 1, 13, 3, 65536.0, 1.0, 1, 2000, 9, 0, Site("train.py", 7), Site("train.py", 2)),
        LostUpdates(3, 0, "bfloat16", 2, 4, 8, 512, 500, 0.0005, 0.07, "cpu"),
        Underflow(3, 0, 4, 1, 1, 0, 1.5, "body.0.weight", "cpu", Site("train.py", 7)),
    ],
    ids=lambda f: type(f).__name__,
)
def test_facts_survive_json(fact) -> None:
    """What is written is what is read."""
    assert from_json(json.loads(json.dumps(to_json(fact)))) == fact


def written_run(folder: Path, rows: int = 5) -> OptimizerTable:
    table = OptimizerTable(0, "SGD", (Parameter("w", (2, 2), 0), Parameter("b", (2,), 0)), 1)
    writer = ChunkWriter(folder)
    writer.meta(Meta(script="train.py", argv=("--lr", "1"), status="finished", rows=rows, optimizers=["SGD"]))
    writer.line(table.describe())
    for row in range(rows):
        scalars = {n: np.full(s, row, d) for n, (d, s) in scalar_columns(1).items()}
        arrays = {n: np.full(s, row, d) for n, (d, s) in array_columns(2).items()}
        columns = table.extend([tuple(scalars.values())], [arrays])
        writer.rows("0/scalars", columns, table.scalars.row_bytes, 1)
        writer.row("0/arrays", arrays, row, table.arrays.row_bytes, 2)
        if row % 2:
            writer.flush({"0/scalars": scalar_columns(1), "0/arrays": array_columns(2)})
    writer.flush({"0/scalars": scalar_columns(1), "0/arrays": array_columns(2)})
    writer.arrays("0/counters", table.counters)
    writer.line({"partition": [[0]]})
    writer.line({"site": 0, "file": "train.py", "line": 3, "function": "main"})
    writer.close()
    return table


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Columns, counters, names, sites and meta data come back exactly."""
    table = written_run(tmp_path)
    record = read_record(tmp_path)
    view, (optimizer,) = table.view(), record.optimizers
    assert optimizer.parameters == view.parameters
    for name in view.scalars:
        np.testing.assert_array_equal(optimizer.scalars[name], view.scalars[name])
    for name in view.arrays:
        np.testing.assert_array_equal(optimizer.arrays[name], view.arrays[name])
    for name in view.counters:
        np.testing.assert_array_equal(optimizer.counters[name], view.counters[name])
    assert record.sites == (Site("train.py", 3, "main"),)
    assert record.meta.argv == ("--lr", "1")
    assert [s.number for s in record.streams] == [0]


def test_descriptions_without_a_dtype_are_still_read(tmp_path: Path) -> None:
    """The first records described a parameter by name, shape and group; later ones by dtype, too."""
    written_run(tmp_path)
    index = (tmp_path / INDEX).read_text()
    assert '["w",[2,2],0,"",-1]' in index
    (tmp_path / INDEX).write_text(index.replace('["w",[2,2],0,"",-1]', '["w",[2,2],0]'))
    assert read_record(tmp_path).optimizers[0].parameters[0] == Parameter("w", (2, 2), 0)


@pytest.mark.parametrize("cut", [1, 100, 400])
def test_a_torn_record_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    """Data cut off in the middle of a chunk: the chunks before it are there, and a note says what is not."""
    written_run(tmp_path)
    data = (tmp_path / DATA).read_bytes()
    (tmp_path / DATA).write_bytes(data[:-cut])
    with open(tmp_path / INDEX, "a") as index:
        index.write('{"chunk": "0/sca')
    record = read_record(tmp_path)
    assert record.optimizers[0].rows.tolist() in ([0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4])
    assert "damaged" in record.meta.notes[0]


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """A chunk whose checksum differs is left out, not believed."""
    written_run(tmp_path)
    data = bytearray((tmp_path / DATA).read_bytes())
    data[10] ^= 1
    (tmp_path / DATA).write_bytes(bytes(data))
    assert len(read_record(tmp_path).optimizers[0].rows) == 3


@given(st.lists(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(repr)), max_size=8), st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused(tmp_path_factory, lines: list[str], data: bytes) -> None:
    """Foreign files never crash the reader: a Record, or DamagedRecord with a sentence."""
    folder = tmp_path_factory.mktemp("run")
    (folder / META).write_text('{"schema": 1, "argv": []}')
    (folder / INDEX).write_text("\n".join(lines), encoding="utf-8", errors="replace")
    (folder / DATA).write_bytes(data)
    try:
        read_record(folder)
    except DamagedRecord as error:
        assert str(error)
    assert read_findings(folder) == []


@pytest.mark.parametrize(
    "index", ['{"chunk": "0/x", "at": 0, "bytes": 1e99}', '{"optimizer": 0}', '{"fact": [{}]}', "[[["]
)
def test_damaged_lines_are_survived(tmp_path: Path, index: str) -> None:
    """Each kind of line, broken."""
    written_run(tmp_path)
    with open(tmp_path / INDEX, "a") as file:
        file.write(index + "\n")
    try:
        assert len(read_record(tmp_path).optimizers[0].rows) == 5
    except DamagedRecord as error:
        assert "optimizer 0" in str(error)


def test_the_newest_run_inside_a_folder_is_found(tmp_path: Path) -> None:
    """`report runs` means the newest run in there; a folder without any is refused."""
    with pytest.raises(DamagedRecord, match="no gradscope record"):
        find_run(tmp_path)
    written_run(tmp_path / "a")
    written_run(tmp_path / "b")
    assert find_run(tmp_path).name == "b"
    assert find_run(tmp_path / "a").name == "a"


def test_the_disk_limit_is_kept(tmp_path: Path) -> None:
    """As the limit comes near, per-parameter rows are taken ever rarer; scalars stop last."""
    limit = 40_000
    writer = ChunkWriter(tmp_path, limit)
    columns = {"0/arrays": array_columns(4)}
    for row in range(5_000):
        writer.row("0/arrays", {n: np.zeros(s, d) for n, (d, s) in array_columns(4).items()}, row, 148, 4)
        if row % 50 == 0:
            writer.flush(columns)
    writer.close()
    assert 0.3 * limit < (tmp_path / DATA).stat().st_size < limit


def test_losses_go_on_where_there_is_no_room_for_more_gradients(tmp_path: Path) -> None:
    """Each quarter of a long run has rows of its own, and the scalars are all there."""
    loop = Loop(tmp_path, 200, limit=4_000_000)
    for _ in range(20):
        loop.steps(100)
    (found,) = read_record(tmp_path).optimizers
    assert list(range(2000)) == found.rows.tolist()
    counts = np.histogram(found.measured, [0, 500, 1000, 1500, 2000])[0]
    assert (counts >= 5).all() and list(range(200)) == found.measured[:200].tolist()
    assert (tmp_path / DATA).stat().st_size < 4_000_000


def test_revisions_of_a_finding_wait_for_the_next_chunk(tmp_path: Path) -> None:
    """A finding that only grows longer with each row does not fill the disk; what it is in the end is there."""
    folder = RunFolder(tmp_path / "run", print)
    for row in range(500):
        folder.finding(Finding("GS101", "missing-zero-grad", "error", "m", (1, row)))
    folder.finding(Finding("GS101", "missing-zero-grad", "info", "m", (1, 500)))
    folder.finding(Finding("GS101", "missing-zero-grad", "info", "m", (1, 501)))
    folder.flush([], [], (), FactLog(), Meta())
    folder.close()
    assert 3 == len((tmp_path / "run" / "findings.jsonl").read_text().splitlines())
    (line,) = read_findings(tmp_path / "run")
    assert ([1, 501], "info") == (line["steps"], line["severity"])
