"""Run folders of invented numbers, and the obvious way to read them."""
from __future__ import annotations

import json
import math
import weakref
import zlib
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from gradscope.events import Point, Site
from gradscope.facts.fact import FactLog
from gradscope.facts.loop import SkippedStep
from gradscope.findings import Finding
from gradscope.record.chunks import DATA, DISK_LIMIT, INDEX
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Meta, OptimizerRecord, Parameter, Record
from gradscope.record.rowstore import Columns, pad
from gradscope.record.run_folder import RunFolder
from gradscope.record.table import OptimizerTable, array_columns, scalar_columns


class Loop:
    """Writes a run of invented numbers, which can be told from each other."""

    def __init__(self, folder: Path, parameters: int = 3, limit: int = DISK_LIMIT) -> None:
        self.folder, self.row = folder, 0
        self.table = OptimizerTable(0, "SGD", _parameters(parameters), 1)
        self.out, self.facts = RunFolder(folder, print, limit), FactLog()
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
