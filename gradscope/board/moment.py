"""The timeline of one step as a document. The user's source files are not read: a place is a file and a line."""
from __future__ import annotations

import math
from collections import Counter
from typing import Any, Mapping, Sequence

import numpy as np

from gradscope.board.lines import Place
from gradscope.board.overview import title_of
from gradscope.events import Point
from gradscope.record.record import OptimizerRecord, Record, Stream
from gradscope.reporters.grouping import group
from gradscope.reporters.moments import HAS_NUMBER, MOST_LINES, POINTS_OF, Call, Cell, Line, OptimizerMoment, moment_of
from gradscope.reporters.timeline import LEGEND, cell_texts, rates, telling


def moment(record: Record, stream: Stream, order: Sequence[Place], step: int | None) -> dict[str, Any]:
    """The document; raises what `moment_of` raises."""
    numbers = tuple(o.number for o in stream.optimizers)
    alone = Record(stream.optimizers, (numbers,), record.facts, record.sites, record.meta, record.metrics)
    found = moment_of(alone, step, None)
    optimizers = {o.number: o for o in stream.optimizers}
    at = {(stream.optimizers[p.optimizer].number, p.column): i for i, p in enumerate(order)}
    tables = [_table(table, optimizers, at) for table in found.optimizers]
    losses = {repr(o.head.loss): o.head.loss for o in found.optimizers}
    loss = next(iter(losses.values())) if len(losses) == 1 else None
    return {
        "step": found.step,
        "asked": found.asked,
        "steps": found.steps,
        "loss": None if loss is None else f"{loss:.4g}",
        "optimizers": tables,
        "others": [
            {"title": title_of(o.variable, o.kind), "stepped": o.stepped, "nearest": o.nearest} for o in found.others
        ],
        "legend": [[word, meaning] for word, meaning in LEGEND.items()],
    }


def _table(
    table: OptimizerMoment, optimizers: Mapping[int, OptimizerRecord], at: Mapping[tuple[int, int], int]
) -> dict[str, Any]:
    head = table.head
    places = [at[number, column] for number in table.numbers for column in range(len(optimizers[number].parameters))]
    members = np.argsort(places).tolist()
    points = [point for call in head.calls for point in POINTS_OF[call.phase]]
    lines = []
    for name, which in group([table.lines[i].name for i in members], MOST_LINES):
        mine = [members[i] for i in which]
        cells = [_cell(_together([table.lines[i] for i in mine], point), point) for point in points]
        inside = [places[i] for i in mine]
        span = {"first": min(inside), "last": max(inside)}
        lines.append({"name": name, "parameters": len(mine), **span, "cells": cells})
    many = f"{len(table.numbers)} x " if len(table.numbers) > 1 else ""
    return {
        "title": many + title_of(head.variable, head.kind),
        "lr": rates(head.lr) if head.lr else "",
        "calls": [_call(call) for call in head.calls],
        "points": [list(_when(point)) for point in points],
        "lines": lines,
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "phase": call.phase.value,
        "file": None if call.site is None else call.site.file,
        "line": None if call.site is None else call.site.line,
        "times": call.times,
        "known": call.known,
    }


def _when(point: Point) -> tuple[str, str]:
    when, _, phase = point.name.lower().partition("_")
    return phase, when


def _together(lines: Sequence[Line], point: Point) -> Cell:
    cells = [line.cells[point] for line in lines]
    counts: Counter[Any] = Counter()
    for cell in cells:
        counts.update(cell.counts)
    norms = [cell.norm for cell in cells if any(state in HAS_NUMBER for state in cell.counts)]
    norm = float(np.sqrt(np.sum(np.square(np.array(norms))))) if norms else math.nan
    return Cell(dict(sorted(counts.items())), norm)


def _cell(cell: Cell, point: Point) -> dict[str, Any]:
    number, word = cell_texts(cell, point, marks=False, mixed_norms=True)
    return {"number": number, "word": word, "state": int(telling(cell, point))}
