"""Hand-made records: rules are tested on these, without torch, in milliseconds."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from gradscope.events import Site
from gradscope.facts.fact import Fact, FactLog
from gradscope.record.blocks import Courses
from gradscope.record.metrics import NONE_LOGGED, Metric
from gradscope.record.record import ONE_PROCESS, Meta, OptimizerRecord, Parameter, Record, Wiring
from gradscope.record.rowstore import pad
from gradscope.record.table import COUNTERS, array_columns, scalar_columns

ZERO_GRAD, BACKWARD, STEP = Site("train.py", 10, "main"), Site("train.py", 12, "main"), Site("train.py", 13, "main")
HEALTHY = Wiring.STATISTICS
ALONE = {"GS801": ONE_PROCESS, "GS802": ONE_PROCESS}  # what is skipped in one process,
NO_METRIC = {"GS901": NONE_LOGGED, **ALONE}  # and where a loop hands in no validation loss


def optimizer(
    wiring: Sequence[int] = (HEALTHY,) * 8,
    names: Sequence[str] = ("layer.weight", "layer.bias"),
    number: int = 0,
    shapes: Sequence[tuple[int, ...]] = ((3, 2), (3,)),
    counters: dict[str, Any] | None = None,
    grad_norm: Sequence[float] | None = None,
    losses: Sequence[float] | None = None,
    lr: float | Sequence[float] = 0.1,
    courses_of_rows: Sequence[int] | None = None,
) -> OptimizerRecord:
    """An optimizer that stepped in each of the first rows, wired as given (or with these `losses`, wired well)."""
    wiring = (HEALTHY,) * len(losses) if losses is not None else wiring
    rows = len(wiring)
    losses = np.linspace(2, 1, rows) if losses is None else np.asarray(losses, float)
    lrs = np.broadcast_to(np.asarray(lr, float), (rows,))
    columns: dict[str, Any] = {n: np.zeros((rows, *s), d) for n, (d, s) in scalar_columns(1).items()}
    columns |= {
        "row": np.arange(rows),
        "wiring": np.array(wiring, np.uint8),
        "loss": losses,
        "joint_loss": losses,
        "course": np.zeros(rows, np.int32) if courses_of_rows is None else np.array(courses_of_rows, np.int32),
        "backwards": np.ones(rows, np.int32),
        "zero_grad_site": np.zeros(rows, np.int32),
        "backward_site": np.ones(rows, np.int32),
        "step_site": np.full(rows, 2, np.int32),
        "grad_norm": np.ones(rows) if grad_norm is None else np.array(grad_norm, float),
        "lr": lrs[:, None],
    }
    counted = {name: np.full(len(names), start, np.int64) for name, start in COUNTERS.items()}
    counted |= {"steps": np.full(len(names), rows), "reached": np.full(len(names), rows)}
    counted |= {name: np.asarray(values) for name, values in (counters or {}).items()}
    empty = {n: np.zeros((0, *s), d) for n, (d, s) in array_columns(len(names)).items()}
    parameters = tuple(Parameter(name, shape, 0, "float32") for name, shape in zip(names, shapes))
    arrays = pad(empty, array_columns(len(names)))
    courses = Courses()
    for row in range(rows):
        courses.extend(int(columns["course"][row]), np.array([[row, losses[row], lrs[row]]], float))
    scalars = pad(columns, scalar_columns(1))
    return OptimizerRecord(number, "SGD", "optimizer", parameters, scalars, arrays, counted, courses.view())


def metric(
    values: Sequence[float],
    rows: Sequence[int] | None = None,
    name: str = "val_loss",
    source: str = "log",
    optimizers: tuple[int, ...] = (),
    every: int = 10,
    number: int = 0,
) -> Metric:
    """Values that were handed in at these rows (or after each so many)."""
    at = np.asarray(np.arange(1, len(values) + 1) * every - 1 if rows is None else rows, float)
    return Metric(number, name, source, optimizers, 2, at, np.asarray(values, float), np.ones(len(values)))


def record(
    *optimizers: OptimizerRecord, facts: Sequence[Fact] = (), status: str = "running", metrics: Sequence[Metric] = ()
) -> Record:
    """A record of these optimizers, each a stream of its own."""
    log = FactLog()
    for fact in facts:
        log.add(fact)
    rows = max((len(o.rows) for o in optimizers), default=0)
    meta = Meta(status=status, rows=rows, optimizers=[o.kind for o in optimizers])
    streams, sites = tuple((o.number,) for o in optimizers), (ZERO_GRAD, BACKWARD, STEP)
    return Record(optimizers, streams, log, sites, meta, tuple(metrics))
