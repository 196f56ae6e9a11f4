"""Curves over the steps: loss, gradient norm, learning rates and metrics of a stream; the norms of one line."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from gradscope.board.axis import Axis, axis_of, usable
from gradscope.board.encoding import encode
from gradscope.board.heatmap import Cells, Question, cells_of
from gradscope.board.lines import Lines, Place
from gradscope.board.measured import end_of
from gradscope.events import Point
from gradscope.record.record import Array, OptimizerRecord, Record, Stream, Wiring

MOST_RATES = 16


def curves(record: Record, stream: Stream, question: Question) -> dict[str, Any]:
    """The document: each kept row of the stream in one column."""
    steps = usable(np.asarray(stream.rows))
    axis = axis_of(steps, end_of(stream), question.start, question.stop, question.width)
    loss, known = _loss(stream, axis)
    norm, measured = _norm(stream, axis)
    return {
        "edges": encode(axis.edges, "f8"),
        "rows": encode(axis.counts, "i4"),
        "loss": _summary(axis, loss, known),
        "norm": _summary(axis, norm, measured),
        "lr": _rates(stream, axis),
        "metrics": _metrics(record, stream, question),
    }


def courses(stream: Stream, question: Question) -> dict[str, Any]:
    """Of another rank: its losses and norms only."""
    steps = usable(np.asarray(stream.rows))
    axis = axis_of(steps, end_of(stream), question.start, question.stop, question.width)
    means = {name: _summary(axis, *find(stream, axis))["mean"] for name, find in (("loss", _loss), ("norm", _norm))}
    return {"edges": encode(axis.edges, "f8"), "rows": encode(axis.counts, "i4"), **means}


def _at(optimizer: OptimizerRecord, axis: Axis) -> tuple[Array, Array]:
    """For each row of the axis, where the optimizer has it, and whether it does."""
    rows = np.asarray(optimizer.rows)
    at = np.minimum(np.searchsorted(rows, axis.rows), max(0, len(rows) - 1))
    return at, rows[at] == axis.rows


def _loss(stream: Stream, axis: Axis) -> tuple[Array, Array]:
    """The loss of each row, and whether there is one: of any of the optimizers."""
    at, known = _at(stream.optimizers[0], axis)[0], np.zeros(len(axis.rows), np.bool_)
    for optimizer in stream.optimizers:
        mine, there = _at(optimizer, axis)
        known |= there & ((np.asarray(optimizer.wiring)[mine] & int(Wiring.NO_LOSS)) == 0)
    return np.asarray(stream.loss)[at], known


def _norm(stream: Stream, axis: Axis) -> tuple[Array, Array]:
    """The norm of all gradients that the steps used, where one was measured."""
    squares, measured = np.zeros(len(axis.rows)), np.zeros(len(axis.rows), np.bool_)
    for optimizer in stream.optimizers:
        at, there = _at(optimizer, axis)
        there &= (np.asarray(optimizer.wiring)[at] & int(Wiring.STATISTICS)) != 0
        norm = np.asarray(optimizer.scalars["grad_norm"], np.float64)[at]
        with np.errstate(over="ignore"):
            squares += np.where(there, norm * norm, 0.0)
        measured |= there
    return np.sqrt(squares), measured


def _summary(axis: Axis, values: Array, known: Array) -> dict[str, Any]:
    finite = known & np.isfinite(values)
    good = np.where(finite, values, 0.0)
    count = _sums(finite.astype(np.int64), axis)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = _sums(good, axis) / count
    low = _reduced(np.minimum, np.where(finite, values, np.inf), axis)
    high = _reduced(np.maximum, np.where(finite, values, -np.inf), axis)
    low[count == 0] = high[count == 0] = np.nan
    return {
        "mean": encode(mean, "f8"),
        "low": encode(low, "f8"),
        "high": encode(high, "f8"),
        "not_finite": encode(_sums((known & ~finite).astype(np.int64), axis), "i4"),
    }


def _reduced(ufunc: Any, values: Array, axis: Axis) -> Array:
    return np.array(ufunc.reduceat(values, axis.cuts[:-1])) if len(axis) else np.zeros(0, values.dtype)


def _sums(values: Array, axis: Axis) -> Array:
    return _reduced(np.add, values, axis)


def _rates(stream: Stream, axis: Axis) -> list[dict[str, Any]]:
    """A curve for each group's learning rate; those that are the same share one."""
    found: dict[bytes, tuple[list[str], Array]] = {}
    for optimizer in stream.optimizers:
        at, there = _at(optimizer, axis)
        lr = np.asarray(optimizer.lr, np.float64)
        for group in range(lr.shape[1]):
            values = lr[at, group]
            finite = there & np.isfinite(values)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                mean = _sums(np.where(finite, values, 0.0), axis) / _sums(finite.astype(np.int64), axis)
            title = optimizer.variable or optimizer.kind
            label = f"{title}, group {group}" if lr.shape[1] > 1 else title
            found.setdefault(mean.tobytes(), ([], mean))[0].append(label)
    shown = list(found.values())[:MOST_RATES]
    return [{"label": _joined(labels), "values": encode(mean, "f8")} for labels, mean in shown]


def _joined(labels: Sequence[str]) -> str:
    return ", ".join(labels) if len(labels) <= 3 else f"{labels[0]} and {len(labels) - 1} more"


def _metrics(record: Record, stream: Stream, question: Question) -> list[dict[str, Any]]:
    mine = {o.number for o in stream.optimizers}
    documents = []
    for metric in record.metrics:
        if not metric.optimizers or mine.intersection(metric.optimizers):
            steps = np.maximum(metric.row, 0)
            low = -np.inf if question.start is None else question.start
            high = np.inf if question.stop is None else question.stop
            inside = (steps >= low) & (steps <= high)
            named = {"name": metric.name, "source": metric.source}
            documents.append(
                {**named, "steps": encode(steps[inside], "f8"), "values": encode(metric.value[inside], "f8")}
            )
    return documents


def parameter(stream: Stream, order: Sequence[Place], line: Lines, question: Question) -> dict[str, Any]:
    """The document of one line."""
    shown: dict[str, Cells] = {
        name: cells_of(stream, order, stat, question, line, point)
        for name, stat, point in (
            ("gradient", "gradient", Point.BEFORE_STEP),
            ("after_backward", "gradient", Point.AFTER_BACKWARD),
            ("weight", "weight", Point.BEFORE_STEP),
            ("update", "update", Point.BEFORE_STEP),
        )
    }
    axis, state = shown["gradient"].axis, shown["gradient"].state
    document: dict[str, Any] = {"edges": encode(axis.edges, "f8"), "rows": encode(axis.counts, "i4")}
    for name, cells in shown.items():
        document[name] = {
            "mean": encode(cells.mean[:, 0], "f8"),
            "low": encode(cells.low[:, 0], "f8"),
            "high": encode(cells.high[:, 0], "f8"),
            "not_finite": encode(cells.not_finite[:, 0], "i4"),
        }
    return {**document, "state": encode(state[:, 0], "u1")}
