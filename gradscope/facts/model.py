"""What probes find out of the model: its activations, its weights at the start, its batch statistics."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.facts.fact import Fact

WINDOWS = (1, 3, 6, 9)  # the newest rows looked at, over which units are counted that have not fired


@dataclass(frozen=True)
class Firing(Fact):
    """Of a function that is zero below a threshold (ReLU and its like): the units that have not fired lately.

    `place` is the module before it, `function` its name. `silent[i]` of the `units` did not fire for any of
    `samples[i]` samples in the newest `WINDOWS[i]` rows looked at, the first of which was row `since[i]` (as far as
    there are so many). `active` is the share of values above zero in this row, `bias` the mean bias of the module
    before it (NaN: none).
    """

    optimizer: int
    place: str
    function: str
    units: int
    silent: tuple[int, ...]
    samples: tuple[int, ...]
    since: tuple[int, ...]
    active: float
    bias: float

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.place, self.function)


@dataclass(frozen=True)
class Saturation(Fact):
    """Of a sigmoid or tanh in this row: the share of values with less than 2 % of its largest slope.

    `pinned` of the `units` have it for nearly all samples. `inputs` is the rms of what goes into the layer before it,
    `weights` the rms of that layer's weights and `fan_in` how many of them a unit has (NaN, 0: not known).
    """

    optimizer: int
    place: str
    function: str
    units: int
    pinned: int
    saturated: float
    inputs: float
    weights: float
    fan_in: int
    first: bool  # no other layer stands before that one

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.place, self.function)


@dataclass(frozen=True)
class EqualUnits(Fact):
    """A weight whose rows were all the same at the start.

    `spread` is how far its rows are apart now, `apart` how far those of its gradient are, both relative to the largest
    entry; `zero`: the gradient is exactly 0. `value` is the common value of all entries (NaN: only the rows are the
    same). `fan_in` as elsewhere.
    """

    optimizer: int
    parameter: str
    spread: float
    apart: float
    zero: bool
    value: float
    fan_in: int

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.parameter)


@dataclass(frozen=True)
class Signal(Fact):
    """How much of the samples' difference goes into each layer, in the order of the forward, at the first step.

    `deviations[i]` is the standard deviation over samples of what layer i gets, `weights[i]` the rms of its weights,
    `fan_in[i]` how many a unit has, `functions[i]` what follows it ("" where nothing known does). `normalised`: some
    normalisation is among the operations.
    """

    optimizer: int
    layers: tuple[str, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    fan_in: tuple[int, ...]
    functions: tuple[str, ...]
    normalised: bool

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class BatchStatistics(Fact):
    """From how many values a batch normalisation in train mode takes the statistics of a channel.

    `number` in this row, `least` and `usual` (the median) in all `looks` so far; `batch` samples.
    """

    optimizer: int
    place: str
    channels: int
    batch: int
    number: int
    least: int
    usual: int
    looks: int

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.place)


@dataclass(frozen=True)
class GraphUnseen(Fact):
    """What the operations of an optimizer's losses have made cannot be read: compiled, or activation checkpointing."""

    optimizer: int
    why: str

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)
