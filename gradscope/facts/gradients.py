"""What probes find out of gradients."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class Clipping(Fact):
    """A line that clips gradients by torch's functions, and the optimizer whose parameters it is given.

    `optimizer`: -1 where no optimizer that has stepped has one of them. `kind`: norm (by `limit`, in the norm of
    `norm_type`) or value. `parameters` it was given at its newest call, `covered` of them the optimizer's, which has
    `of`.

    Of the `calls` looked at since row `since`: `empty` found no gradient (or zeroes), `spent` only such that a step had
    used, `none` were given no parameters, `used_up` of these by an iterator that had given all before. Of the
    optimizer's steps looked at that such calls came before, `acted` used what the newest of them had clipped, `idle`
    did not.
    `ahead`: another optimizer, whose step came right after the call, so many `times` (-1: none).

    The norms before the clip are known of `seen` calls that were between backward and step; `cut` of them were above
    `limit`; `low`, `median`, `high` are their 10 %, 50 % and 90 % quantiles (0 where none is known).
    Before `scaled` of the calls looked at, GradScaler had multiplied the loss, by `scale` in the middle (0: not known),
    and had not divided the gradients yet.
    """

    optimizer: int
    kind: str
    limit: float
    norm_type: float
    parameters: int
    covered: int
    of: int
    calls: int
    since: int
    empty: int
    spent: int
    none: int
    used_up: int
    acted: int
    idle: int
    ahead: int
    times: int
    seen: int
    cut: int
    low: float
    median: float
    high: float
    site: Site
    scaled: int = 0
    scale: float = 0.0

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.kind, self.site)
