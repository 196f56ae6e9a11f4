"""How the gradients change on their way through the layers, from the norms of the measured rows."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.events import GradState, Point
from gradscope.record.record import Array, OptimizerRecord, Stream
from gradscope.rules.middle import medians

HEAD, TAIL = 32, 32  # measured rows


@dataclass(frozen=True)
class Profile:
    """Of each weight matrix that gets a gradient, in the order in which they are registered: its size against the
    weights', the median over the first measured rows and over the newest # (weights,). `names` are theirs.
    """

    names: tuple[str, ...]
    first: Array
    newest: Array

    def ratio(self, newest: bool = False) -> float:
        """The first one's against the last one's."""
        flows = self.newest if newest else self.first
        return float(flows[0] / flows[-1]) if len(flows) > 1 else 1.0

    @property
    def order(self) -> float:
        """How far the flows rise from the first layer to the last: Spearman's rank correlation, -1 to 1."""
        count = len(self.newest)
        if count < 3:
            return 0.0
        ranks = np.argsort(np.argsort(self.newest))
        return float(np.corrcoef(ranks, np.arange(count))[0, 1])


def profile(stream: Stream) -> Profile | None:
    """Over all optimizers of the stream; None where fewer than eight rows were measured."""
    names: list[str] = []
    first, newest = [], []
    for optimizer in stream.optimizers:
        matrix = np.array([len(p.shape) >= 2 for p in optimizer.parameters], np.bool_)
        norms = optimizer.grad_norm(Point.BEFORE_STEP)[:, matrix].astype(np.float64)
        if len(norms) < 8 or not matrix.any():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            flows = norms / optimizer.arrays["weight_norm"][:, matrix]
        flows = np.where(np.isfinite(flows) & (flows > 0), flows, np.nan)
        there = ~np.isnan(flows[:HEAD]).all(axis=0) & ~np.isnan(flows[-TAIL:]).all(axis=0)
        names += [name for name, hit in zip(optimizer.names(matrix), np.atleast_1d(there)) if hit]
        first.append(medians(flows[:HEAD, there].T))
        newest.append(medians(flows[-TAIL:, there].T))
    if not names:
        return None
    return Profile(tuple(names), np.concatenate(first), np.concatenate(newest))


def zeros(optimizer: OptimizerRecord, rounding: float = 0.0, last: int = 64) -> tuple[Array, int]:
    """Which parameters # (params,) had a gradient in each of the newest measured rows, and it was exactly 0.

    Or, but for `rounding`: below that share of the largest. And how many measured rows there were; rows in which
    nothing was looked at do not count.
    """
    states = optimizer.grad_state(Point.BEFORE_STEP)[-last:]
    if rounding and len(states):
        norms = optimizer.grad_norm(Point.BEFORE_STEP)[-last:]
        largest = np.nan_to_num(norms).max(axis=1, initial=0.0)
        with np.errstate(invalid="ignore"):
            states = np.where(norms < rounding * largest[:, None], np.uint8(GradState.ZERO), states)
    looked = states[(states != GradState.NOT_SEEN).any(axis=1)] if len(states) else states
    if not len(looked):
        return np.zeros(len(optimizer.parameters), np.bool_), 0
    return np.asarray((looked == GradState.ZERO).all(axis=0)), len(looked)


def zero_since(optimizer: OptimizerRecord, which: Array) -> int:
    """Since which row number all of these parameters have had no other gradient than 0."""
    states = optimizer.grad_state(Point.BEFORE_STEP)[:, which]
    other = np.flatnonzero(((states != GradState.ZERO) & (states != GradState.NOT_SEEN)).any(axis=1))
    at = int(other[-1]) + 1 if len(other) else 0
    return int(optimizer.measured[min(at, len(optimizer.measured) - 1)])
