"""What probes find out of numbers of low precision."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class LossScaling(Fact):
    """Steps of an optimizer that GradScaler has skipped, because gradients were not finite.

    `skipped` so far, and `steps` that ran; `streak`: the newest ones in a row, the first at row `since`; `lately`: of
    the newest `window` steps asked for, those soon after the first that ran left out, and `lately_since` the row of the
    first of them. `scale` is that of the newest skipped step, `first_scale` that of the first one (0: not known).
    `scalers` that have skipped one; `interval`: the steps after which the newest doubles its scale. Of `seen` skipped
    steps the loss is known: `not_finite` of these were no numbers. `made`: where the newest scaler was made.
    """

    optimizer: int
    skipped: int
    steps: int
    streak: int
    since: int
    lately: int
    window: int
    lately_since: int
    first_scale: float
    scale: float
    scalers: int
    interval: int
    seen: int
    not_finite: int
    site: Site
    made: Site | None = None

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class LostUpdates(Fact):
    """Values of weights in low precision (`dtype`) that a step was to change: they had a gradient, and an lr.

    Of `compared` values, a few of each weight, so many `stayed` as they were to the bit, in the newest `looks` looks.
    `weights` of the optimizer's `of` are of that precision. `spacing` is the distance of neighbouring numbers where the
    weights' values are, `size` how large these are: both in the middle.
    """

    optimizer: int
    dtype: str
    weights: int
    of: int
    looks: int
    compared: int
    stayed: int
    spacing: float
    size: float
    device: str = "cuda"

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.dtype)


@dataclass(frozen=True)
class Underflow(Fact):
    """Gradients that one backward, of a loss that nothing had scaled, handed to layers in float16.

    Of `layers` seen, `gone` were given zeroes alone, and `faint` next to nothing but zeroes and the smallest numbers
    that there are; `casts` of float32 gradients to float16 lost most of them. `size` is the least root mean square of
    what was not zero, over the layers and what casts made, in units of the smallest number; `parameter` that of the
    first layer on the way back from the loss that is gone or faint. `device` is the kind of it.
    """

    optimizer: int
    layers: int
    gone: int
    faint: int
    casts: int
    size: float
    parameter: str
    device: str
    site: Site

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)
