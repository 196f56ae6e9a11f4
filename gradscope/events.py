"""What happens in a training loop, and the words for it. No torch here: records, rules and reporters use these too."""
from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple


class Phase(enum.Enum):
    """The four calls of a training loop.

    ::

        for images, targets in loader:
            optimizer.zero_grad()                     # ZERO_GRAD  gradients become None (or zero)
            loss = loss_fn(model(images), targets)    # FORWARD    the graph is built
            loss.backward()                           # BACKWARD   gradients are made, or added to what is there
            optimizer.step()                          # STEP       weights move; the gradients are used up
    """

    ZERO_GRAD = "zero_grad"
    FORWARD = "forward"
    BACKWARD = "backward"
    STEP = "step"


class Point(enum.IntEnum):
    """The moments of a row at which gradients are looked at, in the order of a tutorial's loop."""

    BEFORE_ZERO_GRAD = 0
    AFTER_ZERO_GRAD = 1
    AFTER_BACKWARD = 2
    BEFORE_STEP = 3
    AFTER_STEP = 4


class GradState(enum.IntEnum):
    """What a parameter's gradient is at one point of a row.

    "No gradient" (NONE), "a gradient that is zero" (ZERO) and "nobody looked" (NOT_SEEN) are three things.
    """

    NOT_SEEN = 0
    NONE = 1
    ZERO = 2
    FRESH = 3  # made since the last clear by one backward, or assigned by hand; not used by a step yet
    ACCUMULATED = 4  # several backwards since the last clear, none used by a step
    STALE = 5  # a step has used it, or a part of it, already


@dataclass(frozen=True)
class Site:
    """A line of the user's code."""

    file: str
    line: int
    function: str = ""


class Event(NamedTuple):
    """One call of the user's loop, as hooks deliver it.

    `subject` is what was called: the optimizer (ZERO_GRAD, STEP), the module (ZERO_GRAD), or the tuple of tensors
    on which backward was called (BACKWARD). `site` is the user's line; `plain` tells whether nothing else was given:
    no output gradients (BACKWARD), no closure (STEP), no set_to_none (ZERO_GRAD).
    """

    phase: Phase
    subject: Any
    site: Site
    plain: bool = True
