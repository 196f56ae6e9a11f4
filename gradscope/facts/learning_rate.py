"""What probes find out of schedules, settings and the first steps."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class Schedule(Fact):
    """A learning-rate scheduler in use.

    `scheduler` is its class, `variable` what the loop calls it, `site` the line of its step(); `calls` of it so far,
    and the `steps` of the optimizer since the first of them; `explicit`: the epoch is handed in. `settings` are its
    numbers (step_size, gamma, T_max, milestones ...), which count calls.
    """

    optimizer: int
    scheduler: str
    variable: str
    calls: int
    steps: int
    explicit: bool
    settings: Mapping[str, Any]
    site: Site

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.scheduler, self.site)


@dataclass(frozen=True)
class Hyperparameters(Fact):
    """What a parameter group is set to, but for its lr, at the optimizer's first step: numbers and truth values."""

    optimizer: int
    group: int
    values: Mapping[str, Any]

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.group)


@dataclass(frozen=True)
class StepGeometry(Fact):
    """One of an optimizer's first steps, over all its parameters.

    `gradient` is the norm of the gradient that it used, `update` that of what it changed, `change` that of the
    difference between its gradient and the previous step's (NaN: not known); `descent` is minus the inner product of
    gradient and update: the fall of the loss, to first order.
    """

    optimizer: int
    gradient: float
    update: float
    change: float
    descent: float

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.row)
