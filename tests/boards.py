"""Records and run folders made by hand, for what shows them."""
from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from gradscope.board.documents import Documents, Page
from gradscope.board.encoding import decode
from gradscope.board.lines import Place, tree_order
from gradscope.board.runs import Runs
from gradscope.events import GradState, Point, Site
from gradscope.facts.fact import FactLog
from gradscope.findings import Advice, Finding
from gradscope.record.record import Meta, OptimizerRecord, Parameter, Stream, Wiring
from gradscope.record.run_folder import RunFolder
from gradscope.record.table import OptimizerTable, array_columns, scalar_columns

NAN, INF = float("nan"), float("inf")
STEP = Point.BEFORE_STEP


def optimizer(
    names: Sequence[str],
    steps: Sequence[int],
    state: Any = GradState.FRESH,
    norm: Any = 1.0,
    weight: Any = 1.0,
    update: Any = NAN,
    number: int = 0,
    places: Sequence[int] | None = None,
    variable: str = "optimizer",
    points: Sequence[Point] = (STEP,),
) -> OptimizerRecord:
    """An optimizer measured at these steps, with these states and norms at `points`: # (steps, params), or one each."""
    size = len(steps), len(names)
    arrays: dict[str, Any] = {n: np.zeros((len(steps), *s), d) for n, (d, s) in array_columns(len(names)).items()}
    arrays["row"] = np.array(steps, np.int64)
    arrays["norm"][:] = NAN
    for point in points:
        arrays["state"][:, point] = np.broadcast_to(state, size)
        arrays["norm"][:, point] = np.broadcast_to(norm, size)
    arrays["weight_norm"][:], arrays["update_norm"][:] = np.broadcast_to(weight, size), np.broadcast_to(update, size)
    scalars: dict[str, Any] = {n: np.zeros((len(steps), *s), d) for n, (d, s) in scalar_columns(1).items()}
    scalars["row"] = np.array(steps, np.int64)
    known = [-1] * len(names) if places is None else places
    parameters = tuple(Parameter(name, (2, 3), 0, "float32", place) for name, place in zip(names, known))
    return OptimizerRecord(number, "SGD", variable, parameters, scalars, arrays, {})


def stream_of(*optimizers: OptimizerRecord) -> tuple[Stream, list[Place]]:
    return Stream(optimizers[0].number, optimizers), tree_order(optimizers)


def table(number: int, names: Sequence[str], kind: str = "SGD", variable: str = "optimizer") -> OptimizerTable:
    parameters = tuple(Parameter(name, (2,), 0, "float32", i) for i, name in enumerate(names))
    return OptimizerTable(number, kind, parameters, 1, variable)


def scalars(row: int, loss: float, wiring: int = int(Wiring.STATISTICS), norm: float = 1.0, lr: float = 0.1) -> Any:
    """A row of scalars, in the order of the columns."""
    return (row, loss, loss, 0, 1.0, 1, wiring, 0, 1, 2, norm, [lr])


def arrays(row: int, size: int, state: Any = GradState.FRESH, norm: Any = 1.0, update: Any = NAN) -> dict[str, Any]:
    """The arrays of a measured row: before the step as given, nothing seen before."""
    states, norms = np.zeros((len(Point), size), np.uint8), np.full((len(Point), size), NAN, np.float32)
    states[STEP], norms[STEP] = state, norm
    states[Point.AFTER_STEP], norms[Point.AFTER_STEP] = GradState.STALE, norm
    weight, updates = np.ones(size, np.float32), np.full(size, update, np.float32)
    return {"row": row, "state": states, "norm": norms, "weight_norm": weight, "update_norm": updates}


class Writer:
    """A run folder as a run writes it."""

    def __init__(self, folder: Path, *tables: OptimizerTable, streams: Any = None, script: str = "train.py") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = RunFolder(folder, lambda told: None)
        weakref.finalize(self, self.folder.close)
        self.tables, self.meta, self.facts = tables, Meta(script=script), FactLog()
        self.meta.optimizers = [t.kind for t in tables]
        self.streams = tuple((t.number,) for t in tables) if streams is None else streams
        self.sites = [Site("train.py", 10), Site("train.py", 12), Site("train.py", 13)]
        for one in tables:
            self.folder.described(one)

    def rows(self, one: OptimizerTable, rows: Sequence[Any], measured: Sequence[Any] = ()) -> None:
        columns = one.extend(rows, measured)
        at = {row[0]: i for i, row in enumerate(rows)}
        self.folder.rows(one, columns, [(at[m["row"]], m) for m in measured])
        self.meta.rows = max(self.meta.rows, rows[-1][0] + 1)

    def flush(self, status: str = "running") -> None:
        self.meta.status = status
        self.folder.flush(self.tables, self.sites, self.streams, self.facts, self.meta)


def plain_run(folder: Path, steps: int = 20, names: Sequence[str] = ("a.weight", "a.bias", "b.weight")) -> Writer:
    one = table(0, names, variable="opt")
    writer = Writer(folder, one)
    rows = [scalars(i, 1 / (i + 1)) for i in range(steps)]
    writer.rows(one, rows, [arrays(i, len(names), norm=float(i)) for i in range(steps)])
    writer.flush("finished")
    return writer


def finding(code: str, severity: str = "error", caused_by: str | None = None, line: int = 3) -> Finding:
    return Finding(code, "sick", severity, "it is {what}", (1, 9), {"what": "bad"}, where=Site("train.py", line),
                   advice=(Advice("do better"),), step=2, caused_by=caused_by, optimizer=0)  # fmt: skip


def documents(logdir: Path, pages: Callable[[str], Page | None] = lambda code: None) -> Documents:
    return Documents(Runs({"": logdir}), pages, tuple)


def values(document: Any) -> Any:
    return decode(document).tolist()
