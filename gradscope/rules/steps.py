"""What the record tells of an optimizer's steps: how far they go, against the weights and against the loss."""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Mapping

import numpy as np
import numpy.typing as npt

from gradscope.facts.learning_rate import StepGeometry
from gradscope.record.record import Array, OptimizerRecord, Record, Stream
from gradscope.rules.advice import settings
from gradscope.rules.chance import chances
from gradscope.rules.middle import median, medians

Floats = npt.NDArray[np.float64]

# Each weight moves by about lr, whatever the gradient's size (the square root of its running square divides it).
ADAPTIVE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "SparseAdam")
HEAD, TAIL = 32, 40  # measured rows that are looked at: so many first ones, and newest ones
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

    @property
    def matrices(self) -> int:
        """How many weight matrices are trained; a prompt or a table of embeddings is one."""
        return len(self._weights)

    @cached_property
    def _rms(self) -> Floats:
        """# (weights,) The root mean square of each matrix at the first measured row."""
        numel = np.array([np.prod(self.optimizer.parameters[i].shape) for i in self._weights], np.float64)
        return np.asarray(self.optimizer.arrays["weight_norm"][0][self._weights] / np.sqrt(numel), np.float64)

    @cached_property
    def rms(self) -> float:
        """The median of the weight matrices' root mean squares at the first measured row; NaN: not known."""
        return median(self._rms) if len(self._weights) else float("nan")

    @cached_property
    def share(self) -> float:
        """The largest lr so far against the weights' rms: the median over the matrices, each with its own group's."""
        if not len(self._weights) or not len(self.optimizer.lr):
            return 0.0
        groups = np.array([self.optimizer.parameters[i].group for i in self._weights])
        return float(np.median(self.optimizer.lr.max(axis=0)[groups] / self._rms))

    @cached_property
    def _measured(self) -> tuple[Array, Floats, Floats]:
        """Measured rows, the first 32 of the run and the newest; the update-to-weight ratio of each, the median over
        the matrices with a gradient; and that divided by lr (0 where that is 0).
        """
        measured, updates = self.optimizer.measured, self.optimizer.arrays["update_norm"]
        first = int(self.optimizer.rows[0]) if len(self.optimizer.rows) else 0
        head = int(np.searchsorted(measured, first + HEAD))
        at = np.concatenate([np.arange(head), np.arange(max(head, len(measured) - TAIL), len(measured))])
        at = at[~np.isnan(updates[at]).all(axis=1)] if len(self._weights) else at[:0]
        moved = updates[at][:, self._weights].astype(np.float64)
        weights = self.optimizer.arrays["weight_norm"][at][:, self._weights]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = medians(np.where(moved > 0, moved / weights, np.nan))
        lr = self.lr[np.searchsorted(self.optimizer.rows, measured[at]).clip(max=max(0, len(self.lr) - 1))]
        paces = np.divide(ratios, lr, out=np.zeros_like(ratios), where=lr > 0)
        return measured[at] - first, ratios, paces

    def ratios(self, rows: int = 10) -> Floats:
        """# (up to rows,) the update-to-weight ratio in the first rows, at most 32."""
        return self._measured[1][self._measured[0] < rows]

    def paces(self, rows: int = 10) -> Floats:
        """The same, divided by lr."""
        return self._measured[2][self._measured[0] < rows]

    def newest_ratios(self, count: int) -> Floats:
        """# (up to count,) the newest ones, beyond the first ten rows."""
        return self._measured[1][self._measured[0] >= 10][-count:]

    def newest_paces(self, count: int) -> Floats:
        """The same, divided by lr."""
        return self._measured[2][self._measured[0] >= 10][-count:]

    def ratio(self) -> float:
        """The middle one of the update-to-weight ratios of the first ten rows and the newest five; 0: not known."""
        ratios = np.concatenate([self.ratios(), self.newest_ratios(5)])
        return median(ratios) if len(ratios) else 0.0

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
        return max(self.start, median(self.finite[:16])) if len(self.finite) >= 16 else self.start

    @cached_property
    def classes(self) -> int:
        """Among how many the model chooses; 0: not known, or it does not."""
        known = chances(self.record, self.stream)
        return known[0] if len(known) == 1 else 0

    @property
    def chance(self) -> float:
        """The cross entropy of guessing, ln C for C classes; NaN where there are none."""
        return math.log(self.classes) if self.classes > 1 else math.nan

    def window(self, least: int, error: float = 0.03) -> int:
        """So many losses that the standard error of their mean is below 3 % of it."""
        newest = self.finite[-2 * least :]
        spread = float(newest.std() / newest.mean()) if len(newest) and newest.mean() > 0 else 0.0
        return max(least, int((spread / error) ** 2))

    def started_high(self, low: float = 0.7, aligned: float = 0.1) -> bool:
        """Whether there was much to learn: at chance level, or on a slope (the first gradients all pointed one way)."""
        if self.level > low * self.chance:
            return True
        geometry = [self.geometry[row] for row in sorted(self.geometry)]
        cosines = [
            (a.gradient**2 + b.gradient**2 - b.change**2) / (2 * a.gradient * b.gradient)
            for a, b in zip(geometry, geometry[1:])
            if a.gradient * b.gradient > 0 and math.isfinite(b.change)
        ]
        return math.isnan(self.chance) and bool(cosines) and median(cosines) > aligned

    @cached_property
    def geometry(self) -> Mapping[int, StepGeometry]:
        """What is known of the first steps, by row."""
        facts = (entry.newest for entry in self.record.facts.of(StepGeometry))
        mine = (f for f in facts if isinstance(f, StepGeometry) and f.optimizer == self.optimizer.number)
        return {fact.row: fact for fact in mine}


def steps_of(record: Record, stream: Stream, optimizer: OptimizerRecord) -> Steps:
    """The same for all rules that ask."""
    return record.once(("steps", stream.number, optimizer.number), lambda: Steps(record, stream, optimizer))


def windows_mean(losses: Floats, length: int) -> Floats:
    """The mean of each stretch of `length` losses # (losses - length + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(losses)])
    means: Floats = (total[length:] - total[:-length]) / length
    return means
