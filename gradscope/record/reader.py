"""From a run folder back to a Record. Trusts nothing: sizes are checked, checksums compared, damaged parts left out."""
from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from gradscope.errors import DamagedRecord
from gradscope.events import Site
from gradscope.facts.catalogue import from_json
from gradscope.facts.fact import FactEntry, FactLog
from gradscope.record.blocks import Blocks, from_columns
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META, SCHEMA
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Array, Meta, OptimizerRecord, Parameter, Record
from gradscope.record.rowstore import pad
from gradscope.record.table import COUNTERS, array_columns, scalar_columns

_MAX_GROUPS = 1 << 16
_DTYPES = {"<i8", "<i4", "<f8", "<f4", "|u1"}


def find_run(path: Path) -> Path:
    """The run folder that `path` names: itself, or the newest run inside it."""
    if not os.path.exists(path):  # not Path's: it stumbles over names that are too long
        raise DamagedRecord(f"there is no run folder at {path}")
    try:
        if (path / META).is_file() or (path / INDEX).is_file():
            return path
        inside = [p for p in path.iterdir() if p.is_dir() and (p / META).is_file()] if path.is_dir() else []
    except OSError as error:
        raise DamagedRecord(f"{path} cannot be read ({error.strerror})") from None
    if not inside:
        raise DamagedRecord(f"{path} holds no gradscope record (no {META} in it)")
    return max(inside, key=lambda p: ((p / META).stat().st_mtime, p.name))


def read_record(folder: Path) -> Record:
    """The Record of a run folder; DamagedRecord where there is none that can be read."""
    meta = _read_meta(folder)
    optimizers: dict[int, dict[str, Any]] = {}
    tables: dict[str, list[dict[str, Array]]] = {}
    sites: list[Site] = []
    facts = FactLog()
    partition: list[list[int]] = []
    metrics: dict[int, MetricSums] = {}
    damaged = 0
    try:
        blob = np.memmap(folder / DATA, np.uint8, "r") if (folder / DATA).stat().st_size else np.empty(0, np.uint8)
    except OSError:
        blob = np.empty(0, np.uint8)
    for line in json_lines(folder / INDEX):
        try:
            if "chunk" in line:
                tables.setdefault(str(line["chunk"]), []).append(_read_chunk(line, blob))
            elif "optimizer" in line:
                optimizers[int(line["optimizer"])] = line
            elif "metric" in line:
                metrics[int(line["metric"])] = _metric(line)
            elif "site" in line:
                sites.append(Site(str(line["file"]), int(line["line"]), str(line["function"])))
            elif "fact" in line:
                entry = FactEntry(line["first"], line["last"], line["count"], [from_json(f) for f in line["fact"]])
                facts.put(entry.newest, entry)
            elif "partition" in line:
                partition = [[int(number) for number in group] for group in line["partition"]]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            damaged += 1
    for number, sums in metrics.items():
        damaged += _fill(sums, tables.get(f"metrics/{number}", ()))
    if damaged:
        meta.notes.append(f"{damaged} damaged parts of the record were left out")
    read = (_optimizer(number, optimizers[number], tables) for number in sorted(optimizers))
    records = tuple(optimizer for optimizer in read if len(optimizer.rows))
    seen = tuple(sums.view() for sums in metrics.values())
    return Record(records, tuple(map(tuple, partition)), facts, tuple(sites), meta, seen)


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """The stored findings, newest revision of each id, in their own order."""
    found: dict[str, dict[str, Any]] = {}
    for line in json_lines(folder / FINDINGS):
        if isinstance(line.get("id"), str) and isinstance(line.get("code"), str):
            found[line["id"]] = line
    return sorted(found.values(), key=lambda f: f["order"] if isinstance(f.get("order"), int) else 0)


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line; lines that are not JSON objects (a torn last one) are passed over."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict):
                    yield line
    except OSError:
        return


def _read_meta(folder: Path) -> Meta:
    try:
        data = json.loads((folder / META).read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise DamagedRecord(f"{folder} was written by a newer gradscope (schema {data['schema']})")
        return _meta(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedRecord(f"{folder / META} is missing or damaged: this is not a readable gradscope run") from None


def _meta(data: Mapping[str, Any]) -> Meta:
    """Each field in its own type; ValueError or TypeError where it is not."""
    meta = Meta()
    for name in ("script", "status", "torch", "gradscope"):
        setattr(meta, name, str(data.get(name, "")))
    meta.argv = tuple(str(a) for a in data["argv"])
    meta.rows, meta.backwards = int(data.get("rows", 0)), int(data.get("backwards", 0))
    meta.exit_code = None if data.get("exit_code") is None else int(data["exit_code"])
    meta.overhead, meta.budget = float(data.get("overhead", 0.0)), float(data.get("budget", 0.0))
    meta.optimizers = [str(kind) for kind in data.get("optimizers", ())]
    meta.strides = [(int(row), int(stride)) for row, stride in data.get("strides", ())]
    meta.blind = {str(what): str(why) for what, why in dict(data.get("blind", {})).items()}
    meta.notes = [str(note) for note in data.get("notes", ())]
    return meta


def _read_chunk(line: Mapping[str, Any], blob: Array) -> dict[str, Array]:
    at, size = int(line["at"]), int(line["bytes"])
    if at < 0 or size < 0 or at + size > len(blob):
        raise ValueError("chunk beyond the end of the data")
    data = blob[at : at + size].tobytes()
    if zlib.crc32(data) != line["crc"]:
        raise ValueError("checksum differs")
    columns, start = {}, 0
    for name, dtype, shape in line["columns"]:
        if dtype not in _DTYPES or any(n < 0 for n in shape):
            raise ValueError("unknown kind of column")
        stop = start + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        columns[name] = np.frombuffer(data[start:stop], dtype).reshape(shape)
        start = stop
    return columns


def _metric(line: Mapping[str, Any]) -> MetricSums:
    optimizers = tuple(int(number) for number in line["optimizers"])
    return MetricSums(
        int(line["metric"]), str(line["name"]), str(line["source"]), optimizers, int(line["site_number"])
    )


def _fill(sums: MetricSums, parts: Sequence[Mapping[str, Array]]) -> int:
    """Take in the values that were written, as they came; returns how many parts are not of their form."""
    damaged = 0
    for part in parts:
        row, value = part.get("row"), part.get("value")
        if row is None or value is None or row.shape != value.shape or row.ndim != 1:
            damaged += 1
            continue
        for at, number in zip(row.tolist(), value.tolist()):
            sums.append(int(at), float(number))
    return damaged


def _parameter(name: Any, shape: Any, group: Any, dtype: Any = "") -> Parameter:
    """The first records had no dtype."""
    return Parameter(str(name), tuple(shape), int(group), str(dtype))


def _optimizer(number: int, line: Mapping[str, Any], tables: Mapping[str, list[dict[str, Array]]]) -> OptimizerRecord:
    try:
        parameters = tuple(_parameter(*fields) for fields in line["parameters"])
        groups, kind, variable = int(line["groups"]), str(line["type"]), str(line["variable"])
        if not 0 <= groups <= _MAX_GROUPS:
            raise ValueError(groups)
    except (KeyError, TypeError, ValueError):
        raise DamagedRecord(f"the description of optimizer {number} is damaged") from None

    def join(name: str, wanted: Any) -> dict[str, Array]:
        empty = {n: np.empty((0, *shape), dtype) for n, (dtype, shape) in wanted.items()}
        parts = []
        for part in tables.get(f"{number}/{name}", ()):
            try:
                parts.append(pad(part, wanted))
            except (KeyError, ValueError):
                continue
        joined = {n: np.concatenate([empty[n], *(p[n] for p in parts)]) for n in wanted}
        order = np.argsort(joined["row"], kind="stable")
        return {n: column[order] for n, column in joined.items()}

    counters = {name: np.full(len(parameters), start, np.int64) for name, start in COUNTERS.items()}
    for part in tables.get(f"{number}/counters", ())[-1:]:
        for name in counters:
            if name in part and part[name].shape == counters[name].shape:
                counters[name] = part[name]
    scalars = join("scalars", scalar_columns(groups))
    arrays = join("arrays", array_columns(len(parameters)))
    losses, joint = _courses(f"{number}/losses/", tables), _courses(f"{number}/joint_losses/", tables)
    return OptimizerRecord(number, kind, variable, parameters, scalars, arrays, counters, losses, joint or None)


def _courses(prefix: str, tables: Mapping[str, Sequence[Mapping[str, Array]]]) -> dict[int, Blocks]:
    """By course, the newest blocks that can be read: each part replaces those before it."""
    found = {}
    for name, parts in tables.items():
        if name.startswith(prefix) and name[len(prefix) :].isdecimal():
            for part in parts:
                try:
                    found[int(name[len(prefix) :])] = from_columns(part)
                except (KeyError, ValueError, IndexError):
                    continue
    return found
