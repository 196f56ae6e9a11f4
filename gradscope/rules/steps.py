"""What the record tells of an optimizer's steps: how far they go, against the weights and against the loss."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Mapping

import numpy as np
import numpy.typing as npt

from gradscope.facts import StepGeometry
from gradscope.record.record import Array, OptimizerRecord, Record, Stream
from gradscope.rules.advice import settings

Floats = npt.NDArray[np.float64]

# Each weight moves by about lr, whatever the gradient's size (the square root of its running square divides it).
ADAPTIVE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "SparseAdam")
FOLLOWS_GRADIENT = ("SGD", "ASGD")
SMALLEST = 1e-8  # rms of weights: below it they are not yet weights (zero-initialised)


@dataclass(frozen=True)
class Steps:
    """One optimizer's steps and the losses that they were made on."""

    record: Record
    stream: Stream
    optimizer: OptimizerRecord

    @cached_property
    def losses(self) -> Floats:
        """# (rows,) of the course that most rows belong to, the others left out."""
        return np.asarray(self.stream.loss[self.which], np.float64)

    @cached_property
    def rows(self) -> Array:
        """# (rows,) the run's row numbers of `losses`."""
        return np.asarray(self.stream.rows[self.which])

    @cached_property
    def which(self) -> Array:
        """# (losses,) indices into the stream's rows."""
        courses = self.stream.optimizers[0].scalars["course"]
        known = courses[courses >= 0]
        if not len(known):
            return np.zeros(0, np.intp)
        return np.flatnonzero(courses == np.bincount(known).argmax())

    @cached_property
    def lr(self) -> Floats:
        """# (rows,) of the group with the largest, at each of the optimizer's own rows."""
        lr = self.optimizer.lr
        return np.asarray(lr.max(axis=1) if lr.shape[1] else np.zeros(len(lr)), np.float64)

    @property
    def adaptive(self) -> bool:
        return self.optimizer.kind.removeprefix("Fused").removesuffix("8bit") in ADAPTIVE

    @property
    def follows_gradient(self) -> bool:
        return self.optimizer.kind in FOLLOWS_GRADIENT

    @cached_property
    def momentum(self) -> float:
        given = settings(self.record, self.optimizer).get("momentum", 0.0)
        return float(given) if isinstance(given, (int, float)) and 0 <= given < 1 else 0.0

    # -- against the weights ----------------------------------------------------------------------------------------

    @cached_property
    def _weights(self) -> Array:
        """# (weights,) Columns of the matrices (all parameters, where there is none) that are more than zeros."""
        parameters = self.optimizer.parameters
        numel = np.array([max(1, int(np.prod(p.shape))) for p in parameters], np.float64)
        if not len(self.optimizer.measured):
            return np.zeros(0, np.intp)
        first = self.optimizer.arrays["weight_norm"][0]
        there = np.nan_to_num(first / np.sqrt(numel)) > SMALLEST
        matrices = np.array([len(p.shape) >= 2 for p in parameters]) & there
        return np.flatnonzero(matrices if matrices.any() else there)

    @cached_property
    def _rms(self) -> Floats:
        """# (weights,) The root mean square of each matrix at the first measured row."""
        numel = np.array([np.prod(self.optimizer.parameters[i].shape) for i in self._weights], np.float64)
        return np.asarray(self.optimizer.arrays["weight_norm"][0][self._weights] / np.sqrt(numel), np.float64)

    @cached_property
    def rms(self) -> float:
        """The median of the weight matrices' root mean squares at the first measured row; NaN: not known."""
        return float(np.median(self._rms)) if len(self._weights) else float("nan")

    @cached_property
    def share(self) -> float:
        """The largest lr so far against the weights' rms: the median over the matrices, each with its own group's."""
        if not len(self._weights) or not len(self.optimizer.lr):
            return 0.0
        groups = np.array([self.optimizer.parameters[i].group for i in self._weights])
        return float(np.median(self.optimizer.lr.max(axis=0)[groups] / self._rms))

    def ratios(self, first: int, last: int) -> Floats:
        """The update-to-weight ratio, the median over the matrices with a gradient, at measured rows of a stretch."""
        return self._ratios(first, last)[1]

    def paces(self, first: int, last: int) -> Floats:
        """The same, divided by the lr of each row (0 where that is 0)."""
        rows, ratios = self._ratios(first, last)
        lr = self.lr[np.searchsorted(self.optimizer.rows, rows).clip(max=len(self.lr) - 1)]
        return np.asarray(np.divide(ratios, lr, out=np.zeros_like(ratios), where=lr > 0))

    def _ratios(self, first: int, last: int) -> tuple[Array, Floats]:
        measured = self.optimizer.measured
        at = np.arange(*np.searchsorted(measured, (first, last + 1)))
        if not len(at) or not len(self._weights):
            return measured[:0], np.zeros(0)
        arrays = self.optimizer.arrays
        updates, weights = arrays["update_norm"][at][:, self._weights], arrays["weight_norm"][at][:, self._weights]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(updates > 0, updates / weights, np.nan).astype(np.float64)
        still = np.asarray(~np.isnan(updates).all(axis=1))
        ratio[still & np.isnan(ratio).all(axis=1)] = 0.0
        return measured[at[still]], np.asarray(np.nanmedian(ratio[still], axis=1)) if still.any() else np.zeros(0)

    @cached_property
    def first_ratios(self) -> Floats:
        """# (up to 10,) update-to-weight ratios of the first rows."""
        rows = self.optimizer.rows
        return self.ratios(int(rows[0]), int(rows[0]) + 9) if len(rows) else np.zeros(0)

    @cached_property
    def largest_ratio(self) -> float:
        """Of the first 32 rows."""
        rows = self.optimizer.rows
        return float(self.ratios(int(rows[0]), int(rows[0]) + 31).max(initial=0.0)) if len(rows) else 0.0

    def newest_ratios(self, count: int) -> Floats:
        """# (up to count,) the newest ones, beyond the first ten rows."""
        return self.ratios(*self._newest(count))[-count:]

    def newest_paces(self, count: int) -> Floats:
        """# (up to count,) the same, divided by the lr."""
        return self.paces(*self._newest(count))[-count:]

    def _newest(self, count: int) -> tuple[int, int]:
        measured = self.optimizer.measured[self.optimizer.measured >= 10]
        return (int(measured[-8 * count :][0]), int(measured[-1])) if len(measured) else (1, 0)

    # -- against the loss -------------------------------------------------------------------------------------------

    @cached_property
    def finite(self) -> Floats:
        """The losses that are numbers."""
        return np.asarray(self.losses[np.isfinite(self.losses)])

    @property
    def start(self) -> float:
        """The first loss; NaN: there is none."""
        return float(self.finite[0]) if len(self.finite) else float("nan")

    @cached_property
    def level(self) -> float:
        """The loss at the start of the run, as the noise of single batches allows it to be known."""
        return max(self.start, float(np.median(self.finite[:16]))) if len(self.finite) >= 16 else self.start

    def window(self, least: int, error: float = 0.03) -> int:
        """So many losses that the standard error of their mean is below 3 % of it."""
        newest = self.finite[-2 * least :]
        spread = float(newest.std() / newest.mean()) if len(newest) and newest.mean() > 0 else 0.0
        return max(least, int((spread / error) ** 2))

    @cached_property
    def geometry(self) -> Mapping[int, StepGeometry]:
        """What is known of the first steps, by row."""
        facts = (entry.newest for entry in self.record.facts.of(StepGeometry))
        mine = (f for f in facts if isinstance(f, StepGeometry) and f.optimizer == self.optimizer.number)
        return {fact.row: fact for fact in mine}


def classes(optimizer: OptimizerRecord) -> int:
    """How many outputs the model seems to have: the first dimension of its last parameter; 0: not known."""
    shape = optimizer.parameters[-1].shape if optimizer.parameters else ()
    return int(shape[0]) if shape else 0
