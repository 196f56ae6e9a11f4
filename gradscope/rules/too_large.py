"""Weights that began far above what is usual, where normalisation or recurrence hides what becomes of the signal."""
from __future__ import annotations

import math
import re

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loss import LossFunction
from gradscope.facts.model import Signal
from gradscope.record.record import Record, Stream

_RECURRENT = re.compile(r"weight_hh(_l\d+)?(_reverse)?$")
_GATES = (3, 4)  # they stand below each other in one weight; of a tanh alone, GS502 tells

TooLarge = tuple[str, tuple[str, ...], float, float]  # what, whose, the std, the usual one


def large_logits(record: Record, stream: Stream, large: float) -> TooLarge | None:
    """A cross entropy whose logits come of a last layer with weights of a std above `large` / sqrt(fan_in)."""
    numbers = {o.number for o in stream.optimizers}
    functions = [f.function for f in newest_of(record.facts.of(LossFunction)) if f.optimizer in numbers]
    if not functions or any(function != "cross-entropy" for function in functions):
        return None
    for fact in newest_of(record.facts.of(Signal)):
        if fact.optimizer not in numbers or not fact.normalised:
            continue
        std, fan_in, given = fact.weights[-1], fact.fan_in[-1], fact.deviations[-1]
        if std * math.sqrt(fan_in) > large and std * math.sqrt(fan_in) * given > large:
            what = f"the weights of {fact.layers[-1]}, which makes the logits, began with a std of {std:.3g}"
            return what, fact.layers[-1:], std, 1 / math.sqrt(fan_in)
    return None


def large_recurrent(stream: Stream, factor: float) -> TooLarge | None:
    """Recurrent weights of an rms above `factor` / sqrt(hidden size): torch starts with 0.58 / sqrt(hidden size)."""
    for optimizer in stream.optimizers:
        if not len(optimizer.measured) or not len(optimizer.rows) or optimizer.measured[0] != optimizer.rows[0]:
            continue
        norms = optimizer.arrays["weight_norm"][0]
        for parameter, norm in zip(optimizer.parameters, norms):
            name, shape = parameter.name.split("=")[0], parameter.shape
            if len(shape) != 2 or not _RECURRENT.search(name) or shape[0] not in {gates * shape[1] for gates in _GATES}:
                continue
            rms, usual = float(norm) / math.sqrt(np.prod(shape)), 1 / math.sqrt(3 * shape[1])
            if factor / math.sqrt(shape[1]) < rms < math.inf:
                return f"the recurrent weights {name} began with a std of {rms:.3g}", (parameter.name,), rms, usual
    return None
