"""Validation losses of a stream: which metrics are such, and how they stand against the training loss."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loss import LossFunction
from gradscope.record.blocks import Blocks, Floats
from gradscope.record.metrics import SOURCES, Metric, names_validation_loss
from gradscope.record.record import Record, Stream


@dataclass(frozen=True)
class Series:
    """A metric's finite readings as far as they are about one stream # (readings,)."""

    metric: Metric
    row: Floats
    value: Floats

    def __len__(self) -> int:
        return len(self.row)


def validation_losses(record: Record, stream: Stream, least: int) -> list[Series]:
    """Those of the surest source that has one with `least` readings; [] where there is none."""
    for source in SOURCES:
        candidates = [m for m in record.metrics if m.source == source and len(m) >= least]
        known = [series for m in candidates if _is_validation(record, stream, m) for series in _of(record, stream, m)]
        found = [series for series in known if len(series) >= least]
        if source == "plateau":
            found = [series for series in found if not _is_training_loss(stream, series)]
        if found:
            return found
    return []


def logged(record: Record) -> list[Metric]:
    """The metrics that may be validation losses."""
    return [m for m in record.metrics if any(_is_validation(record, stream, m) for stream in record.streams)]


def unclear(record: Record) -> str:
    """Of which of several streams a metric is that does not say so, where that cannot be told; "" where all can."""
    for metric in logged(record):
        if not metric.optimizers and len(metric) and len(record.streams) > 1:
            if not any(_of(record, stream, metric) for stream in record.streams):
                return f"{metric.name} came while several models took turns: which one's it is cannot be told"
    return ""


def main_course(stream: Stream) -> Blocks | None:
    """The training loss that most rows are of."""
    return max(stream.courses.values(), key=lambda blocks: float(blocks["count"].sum()), default=None)


def _is_validation(record: Record, stream: Stream, metric: Metric) -> bool:
    numbers = {o.number for o in stream.optimizers}
    if metric.optimizers and numbers.isdisjoint(metric.optimizers):
        return False
    if metric.source == "evaluation":
        facts = (f for f in newest_of(record.facts.of(LossFunction)) if f.optimizer in numbers)
        alone = {f.alone for f in facts}
        return len(alone) == 1 and bool(alone - {""}) and metric.name.startswith(f"{alone.pop()} in eval mode")
    return metric.source == "plateau" or names_validation_loss(metric.name)


def _of(record: Record, stream: Stream, metric: Metric) -> list[Series]:
    """What of the metric is about the stream: of one that does not say so, what came after steps of this one alone."""
    mine = np.isfinite(metric.value)
    if not metric.optimizers and len(record.streams) > 1:
        before = np.concatenate([[-1.0], metric.row[:-1]])
        steps = {other.number: _steps(other, before, metric.row) for other in record.streams}
        others = sum((count for number, count in steps.items() if number != stream.number), np.zeros(len(metric)))
        mine &= (steps[stream.number] > 0) & (others == 0)
    return [Series(metric, metric.row[mine], metric.value[mine])] if mine.any() else []


def _steps(stream: Stream, after: Floats, until: Floats) -> Floats:
    """How often the stream stepped in the rows (after, until], as far as they are kept."""
    rows = stream.rows
    return np.asarray(np.searchsorted(rows, until, "right") - np.searchsorted(rows, after, "right"), np.float64)


def _is_training_loss(stream: Stream, series: Series) -> bool:
    """Whether the values are those of the rows before them, or of the newest of these."""
    rows, loss = stream.rows, np.asarray(stream.loss, np.float64)
    stops = np.searchsorted(rows, series.row, "right")
    starts = np.concatenate([[0], stops[:-1]])
    inside = stops > starts
    if not inside.any():
        return False
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(loss))])
    means = (sums[stops] - sums[starts])[inside] / (stops - starts)[inside]
    values, newest = series.value[inside], loss[np.maximum(stops - 1, 0)][inside]
    apart = [np.median(np.abs(values - other) / np.maximum(np.abs(values), 1e-12)) for other in (means, newest)]
    return bool(min(apart) < 0.02)
