"""The timeline of one step as a document. The user's source files are not read: a place is a file and a line."""
from __future__ import annotations

from typing import Any, Sequence

from gradscope.board.lines import Place
from gradscope.board.overview import title_of
from gradscope.events import Point
from gradscope.record.record import Record, Stream
from gradscope.reporters.moments import MOST_LINES, POINTS_OF, Call, Cell, Line, OptimizerMoment, moment_of
from gradscope.reporters.timeline import LEGEND, cell_texts, rates, telling


def moment(record: Record, stream: Stream, order: Sequence[Place], step: int | None) -> dict[str, Any]:
    """The document; raises what `moment_of` raises."""
    numbers = tuple(o.number for o in stream.optimizers)
    alone = Record(stream.optimizers, (numbers,), record.facts, record.sites, record.meta, record.metrics)
    at = {(stream.optimizers[p.optimizer].number, p.column): i for i, p in enumerate(order)}
    found = moment_of(alone, step, MOST_LINES, lambda number, column: at[number, column])
    losses = {repr(o.head.loss): o.head.loss for o in found.optimizers}
    loss = next(iter(losses.values())) if len(losses) == 1 else None
    before, after = found.around
    return {
        "step": found.step,
        "asked": found.asked,
        "around": {"before": before, "after": after},
        "steps": found.steps,
        "loss": None if loss is None else f"{loss:.4g}",
        "optimizers": [_table(table) for table in found.optimizers],
        "others": [
            {"title": title_of(o.variable, o.kind), "stepped": o.stepped, "nearest": o.nearest} for o in found.others
        ],
        "legend": [[word, meaning] for word, meaning in LEGEND.items()],
    }


def _table(table: OptimizerMoment) -> dict[str, Any]:
    head = table.head
    points = [point for call in head.calls for point in POINTS_OF[call.phase]]
    many = f"{len(table.numbers)} x " if len(table.numbers) > 1 else ""
    return {
        "title": many + title_of(head.variable, head.kind),
        "lr": rates(head.lr) if head.lr else "",
        "calls": [_call(call) for call in head.calls],
        "points": [list(_when(point)) for point in points],
        "lines": [_line(line, points) for line in table.lines],
    }


def _line(line: Line, points: Sequence[Point]) -> dict[str, Any]:
    return {
        "name": line.name,
        "parameters": line.parameters,
        "first": min(line.places),
        "last": max(line.places),
        "cells": [_cell(line.cells[point], point) for point in points],
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


def _cell(cell: Cell, point: Point) -> dict[str, Any]:
    number, word = cell_texts(cell, point, marks=False, mixed_norms=True)
    return {"number": number, "word": word, "state": int(telling(cell, point))}
