"""What probes find out of how the calls are wired."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class NoGradientReason(Fact):
    """Why a trainable parameter of an optimizer got no gradient.

    `reason`: not-used, detached, no-grad, integer-cast or not-in-loss. `before` and `after` name the modules between
    which the graph is cut ("" where it is not known). `alternative` is true for one of several interchangeable siblings
    (an expert, a branch) of which others were called.
    """

    optimizer: int
    parameter: int
    reason: str
    before: str = ""
    after: str = ""
    alternative: bool = False
    moved: bool = False  # something else changes its values: a copy, a moving average

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.parameter)


@dataclass(frozen=True)
class UnownedParameter(Fact):
    """A parameter that a loss reached and that no optimizer owns.

    `place`: registered (in a model that is trained), apart (in one of which nothing is trained), hidden (in a plain
    list, tuple or dict of a module), elsewhere (in no module known).
    `upstream`: in the model's order it stands before every parameter that an optimizer owns (a backbone).
    `untouched`: its values are those its module was built with. `aside`: its model is in eval mode, or what is trained
    is no model at all (an image). `moved`: somebody changes its values all the same.
    `owned_since`: the row at which an optimizer took it in, or -1.
    """

    name: str
    shape: tuple[int, ...]
    place: str
    upstream: bool
    untouched: bool
    aside: bool = False
    moved: bool = False
    owned_since: int = -1

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.name, self.shape)


@dataclass(frozen=True)
class MissingStep(Fact):
    """An optimizer that backward reaches and that does not step.

    `backwards` since its last step (or ever); `longest_gap` is the largest number of backwards between two of its steps
    so far; `steps` it has made; `clears` counts the zero_grad calls meanwhile that were on it or changed its gradients;
    `bystander`: other optimizers stepped on these backwards; `moved`: its parameters change all the same; `ended`: the
    run is over; `evaluating`: a model of the loop is in eval mode. Only backwards from a line that has led to a step
    before count, where there is one: another phase has its own purposes.
    """

    optimizer: int
    backwards: int
    longest_gap: int
    steps: int
    clears: int
    bystander: bool
    moved: bool
    ended: bool
    evaluating: bool
    site: Site

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class DisconnectedLoss(Fact):
    """A backward that reached no parameter of any optimizer.

    `cause`: made-by-hand (the loss is a leaf), detached, no-grad, integer-cast, frozen, unknown. `after` names the last
    module whose output still had a gradient, `before` the first that got none.
    """

    cause: str
    after: str
    before: str
    reached_others: bool  # it reached parameters that no optimizer owns
    site: Site

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.site)


@dataclass(frozen=True)
class BackwardFailed(Fact):
    """backward raised one of torch's two errors about the graph.

    `kind`: no-graph ("does not require grad") or freed-graph ("backward through the graph a second time"). `cause`:
    for no-graph as in DisconnectedLoss; for freed-graph same-loss, earlier-step or unknown.
    """

    kind: str
    cause: str
    after: str
    before: str
    site: Site
    backward: int = 0  # its number in the run


@dataclass(frozen=True)
class GraphAge(Fact):
    """Graphs of past losses that are still alive.

    `alive` graphs, the oldest made at row `oldest`; `chained`: a tensor of the loop reaches from the newest to the
    oldest through the graph. `variable` is what holds them, as the user writes it, or "" where nothing was found;
    `grows` the line that adds to it, `healed` that statement without the graph (where they are known).
    """

    alive: int
    oldest: int
    chained: bool
    site: Site
    variable: str = ""
    grows: Site | None = None
    healed: str = ""

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.site)


@dataclass(frozen=True)
class EarlySchedulerStep(Fact):
    """A scheduler that stepped once before its optimizer's first step, and again, at the same line, after it.

    `scheduler` is what the loop calls it; `lr` the learning rate it found, which no step has used; `steps` those of the
    optimizer between the two calls.
    """

    optimizer: int
    scheduler: str
    lr: float
    steps: int
    site: Site

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.site)


@dataclass(frozen=True)
class EvalModeSteps(Fact):
    """Steps of an optimizer whose model was in eval mode, with layers that then do something else.

    `model` is what the loop calls it, `layers` tells which ("2 x Dropout, BatchNorm1d"); `evaluating` such steps in a
    row, the first at row `since`, of the `steps` made so far; `trained`: others, in train mode, came before.
    """

    optimizer: int
    model: str
    layers: str
    evaluating: int
    since: int
    steps: int
    trained: bool

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.since)


@dataclass(frozen=True)
class SkippedStep(Fact):
    """GradScaler did not run the optimizer's step, because gradients were not finite."""

    optimizer: int
