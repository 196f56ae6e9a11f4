"""What probes find out of losses."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class SharedLoss(Fact):
    """The loss that `optimizer` stepped on was made by way of parameters of `other`."""

    optimizer: int
    other: int


@dataclass(frozen=True)
class LossKind(Fact):
    """The loss of an optimizer's steps is of a kind that may rise.

    `kind`: moving-target (another network without gradient takes part), policy (it clips ratios of probabilities),
    changing-weights (a term is multiplied by another constant than before), episodes (each backward is about another
    number of calls of the model), environment (a library of reinforcement-learning environments is loaded).
    """

    optimizer: int
    kind: str


@dataclass(frozen=True)
class LossFunction(Fact):
    """Which of torch's loss functions an optimizer's loss is made of.

    `function`: cross-entropy (of `classes`), binary-cross-entropy (`classes` is 2), other (another, or several),
    none (the loop computes it by hand). `alone`: what the loss is, times a number at most ("cross entropy",
    "squared error"...); "": something else, or a sum.
    """

    optimizer: int
    function: str
    classes: int = 0
    alone: str = ""

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class ConstantGuess(Fact):
    """What a mean squared error would be if the mean of the batch's targets were always predicted: their variance."""

    optimizer: int
    loss: float

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)
