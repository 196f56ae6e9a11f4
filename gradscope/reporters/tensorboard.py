"""Curves and findings for TensorBoard's own scalar and text pages.

Scalars, in the sections "gradscope", "gradscope modules", "gradscope parameters" and "gradscope metrics"; step is the
row's number:

    gradscope/loss                      mean over the rows since the previous point
    gradscope/gradient norm             of all gradients that the step used; mean over the measured rows since then
    gradscope/gradient norm after backward   only where that is another one (clipping)
    gradscope/lr                        of each parameter group
    gradscope/loss scale                only where it is not 1
    gradscope modules/<module>          norm of the module's gradients that the step used, in some measured rows
    gradscope parameters/<name>         the same of one parameter, in fewer rows
    gradscope metrics/<name>            what was handed to `scope.log`, or seen of an evaluation

Where several optimizers train, a tag ends in the optimizer's variable name: `gradscope/loss/opt_d`. Loss is per stream.
What is missing has no point: a parameter without gradient, a backward without scalar loss. NaN is a point. Every row
gets a point at first, later ever fewer (`Pace`); all rows are in the run folder. The text `gradscope/findings` is
the report, written anew when something else is found, and at the end.
"""
from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradscope.plain import printable
from gradscope.record.metrics import MetricSums
from gradscope.record.table import OptimizerTable
from gradscope.reporters import markdown
from gradscope.reporters.curves import CurvePoint, Curves, MetricCurve, NormsPoint, root_of_squares
from gradscope.reporters.event_file import Writer
from gradscope.reporters.report import Report
from gradscope.reporters.tags import CURVES, MAX_OPTIMIZERS, METRICS, TagBook, Tags

FINDINGS = f"{CURVES}/findings"
Partition = Sequence[tuple[int, ...]]
_Events = dict[int, tuple[float, dict[str, float]]]  # by step: wall time and values by tag


class TensorBoard:
    """Takes rows, keeps the points that will be shown, and writes them with each `flush`.

    `open_writer` makes the writer. Whatever fails ends the writing, said once by `tell`; nothing is raised.
    """

    def __init__(self, open_writer: Callable[[], Writer], tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._writer: Writer | None = None
        self._tables: dict[int, OptimizerTable] = {}
        self._curves: dict[int, Curves] = {}
        self._metrics: dict[int, tuple[str, MetricCurve]] = {}  # by number: tag and curve
        self._more_optimizers = False
        self._tags = TagBook()
        self._scaled: set[int] = set()
        self._clipped: set[int] = set()
        self._told: object = (False, [])  # what the newest text says; there is none at first
        self._attempt(lambda: self._open(open_writer))

    def rows(
        self, table: OptimizerTable, columns: Mapping[str, Any], measured: Sequence[tuple[int, Mapping[str, Any]]]
    ) -> None:
        """Finished rows: scalars by column, and, with their places among them, the arrays of measured ones."""
        if self._writer is not None:
            try:
                self._rows(table, columns, measured)
            except Exception as error:
                self._fail(error)

    def metric(self, metric: MetricSums, row: int, value: float) -> None:
        """One value of a metric; those that the loop itself gives to TensorBoard are there already."""
        if self._writer is not None and metric.source in ("log", "evaluation"):
            if metric.number not in self._metrics:
                tag = f"{METRICS}/{printable(metric.name)}"
                taken = any(tag == known for known, _ in self._metrics.values())
                self._metrics[metric.number] = (f"{tag} {metric.number}" if taken else tag), MetricCurve()
            self._metrics[metric.number][1].value(row, value)

    def flush(self, partition: Partition, report: Report, optimizers: int = 1) -> None:
        """Write what is new. `partition`: the optimizers' numbers, grouped into streams. `optimizers`: how many there
        are, idle ones among them: with more than one, tags name them from the first."""
        self._attempt(lambda: self._flush(partition, report, optimizers))

    def close(self, partition: Partition, report: Report, optimizers: int = 1) -> None:
        """Write what is left and the final report, and end. A user's writer is flushed, not closed."""
        self._attempt(lambda: self._end(partition, report, optimizers))
        self.drop()

    def drop(self) -> None:
        """Write nothing any more."""
        writer, self._writer = self._writer, None
        self._curves.clear()
        self._metrics.clear()
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.close()

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        self._tell(f"nothing more is written for TensorBoard: {reason}")
        self.drop()

    def _open(self, open_writer: Callable[[], Writer]) -> None:
        self._writer = open_writer()

    def _rows(
        self, table: OptimizerTable, columns: Mapping[str, Any], measured: Sequence[tuple[int, Mapping[str, Any]]]
    ) -> None:
        curves = self._curves.get(table.number)
        if curves is None:
            if len(self._curves) == MAX_OPTIMIZERS:
                self._more_optimizers = True
                return
            curves = self._curves[table.number] = Curves()
            self._tables[table.number] = table
        curves.rows(columns, measured)

    def _end(self, partition: Partition, report: Report, optimizers: int) -> None:
        for curves in self._curves.values():
            curves.end()
        for _, curve in self._metrics.values():
            curve.end()
        self._flush(partition, report, optimizers, last=True)

    def _flush(self, partition: Partition, report: Report, optimizers: int, last: bool = False) -> None:
        writer = self._writer
        if writer is None:
            return
        self._tags.update([self._tables[number] for number in sorted(self._tables)], optimizers)
        events: _Events = {}
        points: dict[int, list[CurvePoint]] = {}
        known = {number for group in partition for number in group}
        for number, curves in self._curves.items():
            if number not in known:  # its row is still open
                continue
            points[number], norms = curves.take()
            self._enter_curves(events, number, points[number])
            for point in norms:
                self._enter_norms(events, number, point)
        self._enter_losses(events, partition, points, optimizers)
        for tag, curve in self._metrics.values():
            for step, wall, value in curve.take():
                events.setdefault(step, (wall, {}))[1][tag] = value
        for step in sorted(events):
            writer.scalars(step, *events[step])
        findings = (last, [(f.id, f.severity, f.caused_by) for f in report.findings])
        if findings != self._told:
            self._told = findings
            shown = replace(report, notes=(*report.notes, *self._notes()))
            writer.text(max(0, report.meta.rows - 1), time.time(), FINDINGS, markdown.render(shown))
        writer.flush()

    def _enter_curves(self, events: _Events, number: int, points: list[CurvePoint]) -> None:
        tags = self._tags.of(number)
        for point in points:
            _, values = events.setdefault(point.step, (point.wall, {}))
            if point.norm is not None:
                values[tags.named("gradient norm")] = point.norm
            values.update({tag: lr for tag, lr in zip(tags.lr, point.lr) if lr == lr})  # NaN: it has none
            if point.scale != 1 or number in self._scaled:
                self._scaled.add(number)
                values[tags.named("loss scale")] = point.scale

    def _enter_norms(self, events: _Events, number: int, point: NormsPoint) -> None:
        tags = self._tags.of(number)
        _, values = events.setdefault(point.step, (point.wall, {}))
        used, after = root_of_squares(point.norms[point.present]), point.after_backward
        if after is not None and (number in self._clipped or not _same(after, used)):
            self._clipped.add(number)
            values[tags.named("gradient norm after backward")] = after
        if point.for_modules:
            values.update(_module_norms(tags, point))
        if point.for_parameters:
            norms, present = point.norms.tolist(), point.present.tolist()
            shown = ((column, tag) for column, tag in tags.parameters if column < len(norms))
            values.update({tag: norms[column] for column, tag in shown if present[column]})

    def _enter_losses(
        self, events: _Events, partition: Partition, points: Mapping[int, list[CurvePoint]], optimizers: int
    ) -> None:
        """One loss a stream: that of its optimizers where they agree, else that of the rows' backwards together."""
        streams = [known for group in partition if (known := [n for n in group if n in points])]
        for stream in streams:
            tag = self._tags.loss(stream[0], len(streams) == 1 and len(stream) >= optimizers)
            first, *others = (points[number] for number in stream)
            for position, point in enumerate(first):
                beside = [other[position].loss for other in others if position < len(other)]
                agree = all(loss == point.loss or (loss != loss and point.loss != point.loss) for loss in beside)
                loss = point.loss if agree else point.joint
                if loss is not None:
                    events[point.step][1][tag] = loss

    def _notes(self) -> list[str]:
        notes = []
        if self._tags.left_out:
            notes.append(f"{self._tags.left_out} parameters have no curve of their own here; the record has them all")
        if self._more_optimizers:
            notes.append(f"only the first {MAX_OPTIMIZERS} optimizers have curves here; the record has them all")
        return notes


def _same(norm: float, other: float) -> bool:
    """Whether two norms are one but for rounding; a NaN is a NaN."""
    return math.isclose(norm, other, rel_tol=1e-3) or (math.isnan(norm) and math.isnan(other))


def _module_norms(tags: Tags, point: NormsPoint) -> dict[str, float]:
    """By tag, the norm of what gradients each module has; modules without any are left out."""
    columns = np.array(tags.module_of[: len(point.norms)], np.int64)
    norms, present = point.norms[: len(columns)], point.present[: len(columns)]
    inside = present & (columns >= 0)
    squares = np.bincount(columns[inside], norms[inside] ** 2, len(tags.modules))
    gradients = np.bincount(columns[inside], minlength=len(tags.modules)).tolist()
    return {tag: norm for tag, norm, some in zip(tags.modules, np.sqrt(squares).tolist(), gradients) if some}
