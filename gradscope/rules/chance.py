"""The chance level of a loss: what guessing blindly is worth."""
from __future__ import annotations

import math

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.loss import ConstantGuess, LossFunction
from gradscope.record.record import Record, Stream

BATCHES = 4  # whose targets were looked at


def chances(record: Record, stream: Stream) -> tuple[int, ...]:
    """The number of classes of the stream's loss, where it has such; by the last parameter's shape where the loop
    computes its loss by hand."""
    numbers = {o.number for o in stream.optimizers}
    known = [f for f in newest_of(record.facts.of(LossFunction)) if f.optimizer in numbers]
    if any(f.function != "none" for f in known):
        return tuple({f.classes for f in known if f.classes >= 2} if all(f.function != "other" for f in known) else ())
    last = stream.optimizers[-1].parameters
    if not last or not last[-1].shape or not 2 <= last[-1].shape[0] <= 100_000:
        return ()
    return (last[-1].shape[0],)


def guess(record: Record, stream: Stream) -> float:
    """What it costs to know nothing; 0 where that is not known.

    ln C of a cross entropy of torch's; the variance of the targets of a mean squared error, of `BATCHES` batches.
    """
    return record.once(("guess", stream.number), lambda: _guess(record, stream))


def _guess(record: Record, stream: Stream) -> float:
    numbers = {o.number for o in stream.optimizers}
    functions = [fact.function for fact in newest_of(record.facts.of(LossFunction)) if fact.optimizer in numbers]
    if any(function.endswith("cross-entropy") for function in functions):
        classes = chances(record, stream)
        return math.log(classes[0]) if len(classes) == 1 else 0.0
    guesses = [
        float(example.loss)
        for entry in record.facts.of(ConstantGuess)
        for example in entry.examples
        if isinstance(example, ConstantGuess) and example.optimizer in numbers
    ]
    return float(np.mean(guesses)) if len(guesses) >= BATCHES else 0.0
