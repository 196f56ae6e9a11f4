"""Whether a column of a table has a value, again and again, that lies far from all others: a code for "missing"."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.inputs import InputCode
from gradscope.hooks.batch import inputs
from gradscope.hooks.lineage import MATRIX, module_of, weight_of
from gradscope.probes.arrivals import Arrivals, readable
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_PLACES = 4  # first layers
_COLUMNS = 64
_VALUES = 8192  # of one input,
_ROWS = 4096  # and of all together
_LEAST = 8  # rows of one input
_TIMES = 5  # the code, at least
_SHARE = 0.3  # of all rows, at most: what most rows have is no exception
_OTHERS = 8  # different values: of fewer, a column says one of a few things
_APART = 20.0  # times the range of all others


class InputCodesProbe(Probe):
    """Pools the rows that a first layer of matrices is given, in the rows of the run that are looked at closely."""

    cost = "about 40 us for each table that goes into a layer, in the rows that are looked at closely"

    def __init__(self) -> None:
        self._given: list[tuple[Any, torch.Tensor]] = []
        self._pools: dict[tuple[int, int], np.ndarray] = {}  # by the optimizer's number and the weight's id

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        self._given = []
        survey = scene.survey()
        for part in inputs(survey.nodes) if survey is not None else ():
            tensor = part.tensor
            if not part.node.name().startswith(MATRIX) or not readable(tensor) or tensor.dim() != 2:
                continue
            if len(tensor) >= _LEAST and tensor.shape[1] <= _COLUMNS and len(self._given) < _PLACES:
                step = -(-tensor.numel() // _VALUES)
                self._given.append((weight_of(part.node), tensor.detach()[::step].clone()))

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        given, self._given = self._given, []
        for weight, rows in given:
            track = next((t for t in reached if t.number >= 0 and id(weight) in t.parameter_ids), None)
            if track is None:
                continue
            if (track.number, id(weight)) in self._pools or len(self._pools) < _PLACES:
                made = functools.partial(self.add, scene, scene.row, track.number, weight, rows.shape[1])
                track.expect([Arrivals([rows], made)])

    def add(self, scene: Scene, row: int, number: int, weight: Any, columns: int, values: np.ndarray) -> None:
        """Take in rows of so many columns, and tell of the column that is worst."""
        key, rows = (number, id(weight)), values.reshape(-1, columns)
        pool = self._pools.get(key)
        pool = rows if pool is None or pool.shape[1] != rows.shape[1] else np.concatenate([pool, rows])[-_ROWS:]
        self._pools[key] = pool
        found = code(pool)
        if found is not None:
            name = scene.names.name(weight) or ""
            place = module_of(name) if "." in name else "the model"
            scene.emit(InputCode(row, number, place, columns, len(pool), *found))


def code(rows: np.ndarray) -> tuple[int, float, int, float, float, float] | None:
    """Of all columns # (rows, columns) the one with the farthest code: its number, the code and how often it is there,
    the lowest and the highest of the other values, and the rms of all of these; None where there is none."""
    found: list[tuple[float, tuple[int, float, int, float, float]]] = []
    high, low = rows.max(0, initial=-np.inf), rows.min(0, initial=np.inf)
    for column in np.flatnonzero(np.isfinite(high) & np.isfinite(low) & (high > low)):
        values = rows[:, column]
        for value in (high[column], low[column]):
            coded = values == value
            times, others = int(coded.sum()), values[~coded]
            if times < _TIMES or times > _SHARE * len(values):
                continue
            least, most = float(others.min()), float(others.max())
            apart = max(float(value) - most, least - float(value))
            if apart >= _APART * (most - least) and len(np.unique(others)) >= _OTHERS:
                found.append((apart, (int(column), float(value), times, least, most)))
    if not found:
        return None
    _, worst = max(found)
    with np.errstate(over="ignore"):
        size = float(np.sqrt(np.mean(np.square(np.where(np.isin(rows, [one[1] for _, one in found]), 0, rows)))))
    return (*worst, size)
