"""One optimizer's part of the record while the run goes on."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from gradscope.events import Point
from gradscope.record.blocks import Courses
from gradscope.record.record import OptimizerRecord, Parameter
from gradscope.record.rowstore import Array, Columns, RowStore

POINTS = len(Point)
HEAD_ROWS, MIDDLE_ROWS, TAIL_ROWS = 256, 1024, 1024
HEAD_SCALARS, MIDDLE_SCALARS, TAIL_SCALARS = 4096, 65536, 65536
COUNTERS = {"steps": 0, "missing": 0, "reached": 0, "old": 0, "old_first": -1, "old_last": -1, "cleared": 0}


def scalar_columns(groups: int) -> Columns:
    return {
        "row": (np.int64, ()),
        "loss": (np.float64, ()),
        "joint_loss": (np.float64, ()),
        "course": (np.int32, ()),
        "loss_scale": (np.float64, ()),
        "backwards": (np.int32, ()),
        "wiring": (np.uint8, ()),
        "zero_grad_site": (np.int32, ()),
        "backward_site": (np.int32, ()),
        "step_site": (np.int32, ()),
        "grad_norm": (np.float64, ()),
        "lr": (np.float64, (groups,)),
    }


SCALARS = tuple(scalar_columns(1))


def array_columns(parameters: int) -> Columns:
    return {
        "row": (np.int64, ()),
        "state": (np.uint8, (POINTS, parameters)),
        "norm": (np.float32, (POINTS, parameters)),
        "weight_norm": (np.float32, (parameters,)),
        "update_norm": (np.float32, (parameters,)),
    }


class OptimizerTable:
    """Bounded rows and unbounded counters of one optimizer; `describe()` and the columns also go to disk."""

    def __init__(
        self, number: int, kind: str, parameters: tuple[Parameter, ...], groups: int, variable: str = "optimizer"
    ) -> None:
        self.number, self.kind, self.parameters, self.groups = number, kind, parameters, groups
        self.variable = variable
        self.counters = {name: np.full(len(parameters), start, np.int64) for name, start in COUNTERS.items()}
        self.scalars = RowStore(scalar_columns(groups), HEAD_SCALARS, MIDDLE_SCALARS, TAIL_SCALARS)
        self.arrays = RowStore(array_columns(len(parameters)), HEAD_ROWS, MIDDLE_ROWS, TAIL_ROWS)
        self.losses = Courses()
        self._newest_course = -1
        self.joint_losses: Courses | None = None  # from the first row on whose joint loss is another one

    def fits(self, parameters: tuple[Parameter, ...], groups: int) -> bool:
        """Whether rows of so many parameters and groups have the shape of those that are here."""
        return len(self.parameters) == len(parameters) and self.groups == groups

    def extend(self, rows: Sequence[tuple[Any, ...]], measured: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        """Take in rows of scalars, in the order of `SCALARS`, and the arrays of those that were measured.

        Returns the scalars by column.
        """
        types = self.scalars.columns.items()
        columns = {n: np.array(c, t).reshape(len(rows), *s) for (n, (t, s)), c in zip(types, zip(*rows))}
        self.scalars.extend(columns, len(rows))
        self._enter_losses(columns)
        for arrays in measured:
            self.arrays.append(arrays)
        return columns

    def _enter_losses(self, columns: Mapping[str, Array]) -> None:
        courses, losses, joint = columns["course"], columns["loss"], columns["joint_loss"]
        lr = columns["lr"].max(axis=1) if self.groups else np.full(len(losses), np.nan)
        if self.joint_losses is None and not np.array_equal(losses, joint, equal_nan=True):
            self.joint_losses = self.losses.copy()
        self._newest_course = int(courses[-1])
        for course in np.unique(courses[courses >= 0]).tolist():
            mine = courses == course
            rows, rates = columns["row"][mine], lr[mine]
            self.losses.extend(course, np.stack([rows, losses[mine], rates], axis=1))
            if self.joint_losses is not None:
                self.joint_losses.extend(course, np.stack([rows, joint[mine], rates], axis=1))

    def amend(self, joint_loss: float) -> None:
        """More losses came in while the newest row was still open."""
        self.scalars.amend("joint_loss", joint_loss)
        if self.joint_losses is None:
            self.joint_losses = self.losses.copy()
        self.joint_losses.amend(self._newest_course, joint_loss)

    def widen(self, parameters: tuple[Parameter, ...], groups: int) -> None:
        """Take in parameters and groups that were added; the rows so far get "not seen" there."""
        more = len(parameters) - len(self.parameters)
        for name, start in COUNTERS.items():
            self.counters[name] = np.concatenate([self.counters[name], np.full(more, start, np.int64)])
        self.parameters, self.groups = parameters, groups
        self.scalars.widen(scalar_columns(groups))
        self.arrays.widen(array_columns(len(parameters)))

    def view(self, live: bool = False) -> OptimizerRecord:
        """A copy that stays as it is; `live`: cheaper, and good only until the next row."""
        counters = self.counters if live else {name: values.copy() for name, values in self.counters.items()}
        return OptimizerRecord(
            self.number,
            self.kind,
            self.variable,
            self.parameters,
            self.scalars.kept() if live else self.scalars.snapshot(),
            self.arrays.kept() if live else self.arrays.snapshot(),
            counters,
            self.losses.view(),
            None if self.joint_losses is None else self.joint_losses.view(),
        )

    def describe(self) -> dict[str, Any]:
        """What a reader must know before the columns make sense."""
        parameters = [[p.name, list(p.shape), p.group, p.dtype, p.place] for p in self.parameters]
        return {
            "optimizer": self.number,
            "type": self.kind,
            "variable": self.variable,
            "groups": self.groups,
            "parameters": parameters,
        }
