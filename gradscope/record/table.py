"""One optimizer's part of the record while the run goes on."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from gradscope.events import Point
from gradscope.record.blocks import Courses
from gradscope.record.record import OptimizerRecord, Parameter
from gradscope.record.rowstore import Columns, RowStore

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
        self._plain = 0  # plain rows that the counters do not know yet
        self.counters = {name: np.full(len(parameters), start, np.int64) for name, start in COUNTERS.items()}
        self.scalars = RowStore(scalar_columns(groups), HEAD_SCALARS, MIDDLE_SCALARS, TAIL_SCALARS)
        self.arrays = RowStore(array_columns(len(parameters)), HEAD_ROWS, MIDDLE_ROWS, TAIL_ROWS)
        self.losses = Courses()
        self.joint_losses: Courses | None = None  # from the first row on whose joint loss is another one

    def append_plain(self, scalars: Mapping[str, Any]) -> None:
        """A row in which every parameter was trainable, reached, and had its gradient."""
        self._append(scalars)
        self._plain += 1

    def settle(self) -> None:
        """Bring the counters up to date with the plain rows."""
        self.counters["steps"] += self._plain
        self.counters["reached"] += self._plain
        self._plain = 0

    def append(self, scalars: Mapping[str, Any], arrays: Mapping[str, Any] | None) -> None:
        self._append(scalars)
        if arrays is not None:
            self.arrays.append(arrays)

    def _append(self, scalars: Mapping[str, Any]) -> None:
        self.scalars.append(scalars)
        row, course, loss, joint = scalars["row"], int(scalars["course"]), scalars["loss"], scalars["joint_loss"]
        if course < 0:
            return
        lr = max(scalars["lr"], default=np.nan)
        if self.joint_losses is None and joint != loss and not (joint != joint and loss != loss):
            self.joint_losses = self.losses.copy()
        self.losses.append(course, row, loss, lr)
        if self.joint_losses is not None:
            self.joint_losses.append(course, row, joint, lr)

    def amend(self, joint_loss: float) -> None:
        """More losses came in while the newest row was still open."""
        self.scalars.amend("joint_loss", joint_loss)
        if self.joint_losses is None:
            self.joint_losses = self.losses.copy()
        self.joint_losses.amend(joint_loss)

    def widen(self, parameters: tuple[Parameter, ...], groups: int) -> None:
        """Take in parameters and groups that were added; the rows so far get "not seen" there."""
        self.settle()
        more = len(parameters) - len(self.parameters)
        for name, start in COUNTERS.items():
            self.counters[name] = np.concatenate([self.counters[name], np.full(more, start, np.int64)])
        self.parameters, self.groups = parameters, groups
        self.scalars.widen(scalar_columns(groups))
        self.arrays.widen(array_columns(len(parameters)))

    def view(self, live: bool = False) -> OptimizerRecord:
        """A copy that stays as it is; `live`: cheaper, and good only until the next row."""
        self.settle()
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
        parameters = [[p.name, list(p.shape), p.group, p.dtype] for p in self.parameters]
        return {
            "optimizer": self.number,
            "type": self.kind,
            "variable": self.variable,
            "groups": self.groups,
            "parameters": parameters,
        }
