"""What probes find out of models: their operations, as the graph of a loss shows them."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class NormalizedOutput(Fact):
    """A loss function was given something else than it takes.

    `output`: softmax, log-softmax, sigmoid, or logits (of a layer); `loss`: cross-entropy, bce-with-logits or nll. The
    output is that of the layer with the optimizer's parameter `parameter`.
    """

    optimizer: int
    output: str
    loss: str
    parameter: int
    site: Site | None = None

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.output, self.loss, self.parameter)


@dataclass(frozen=True)
class LossBroadcast(Fact):
    """Prediction and target, of the shapes told, were broadcast against each other, each with each.

    `loss`: mse, smooth-l1, huber, by-hand (a difference written out) or product.
    """

    optimizer: int
    loss: str
    prediction: str
    target: str
    result: str
    site: Site | None = None

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.loss, self.site)


@dataclass(frozen=True)
class StackedLinear(Fact):
    """The output of the layer with parameter `first` goes into that with `second`, and nothing is between them.

    `between`: what is, and is linear ("BatchNorm", "Dropout"; "" for nothing). `narrow`: fewer channels between them
    than before or behind, so that the two say less than one could. `whole`: nothing in the whole model is other than
    linear.
    """

    optimizer: int
    first: int
    second: int
    layer: str  # Linear, Conv
    between: str
    narrow: bool
    whole: bool
    site: Site | None = None

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.first, self.second)


@dataclass(frozen=True)
class BlockedGradient(Fact):
    """An operation without a slope (of everything that it was given) stands on each way to the parameter `parameter`.

    `operation`: round, sign, floor, ceil, trunc, floor-division, softmax-of-one, normalised-one, or clamp.
    """

    optimizer: int
    operation: str
    parameter: int
    site: Site | None = None

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.operation, self.parameter)
