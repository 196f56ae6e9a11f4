"""Facts: what no column of gradient norms can hold. Frozen, JSON-able, counted but never thinned. No torch."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Iterable, Mapping

from gradscope.events import Site

MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Fact:
    """One observation of a probe at one row. Facts with the same `key` are occurrences of the same thing."""

    row: int

    def key(self) -> tuple[Any, ...]:
        """What makes two facts the same thing: all fields but the row, unless a subclass says otherwise."""
        values = (getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "row")
        return (type(self).__name__, *values)


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
    none (the loop computes it by hand).
    """

    optimizer: int
    function: str
    classes: int = 0

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


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


KINDS: dict[str, type[Fact]] = {
    kind.__name__: kind
    for kind in (
        NoGradientReason,
        UnownedParameter,
        MissingStep,
        DisconnectedLoss,
        BackwardFailed,
        GraphAge,
        EarlySchedulerStep,
        Schedule,
        EvalModeSteps,
        SkippedStep,
        SharedLoss,
        LossKind,
        LossFunction,
        Hyperparameters,
        StepGeometry,
    )
}


@dataclass
class FactEntry:
    """All occurrences of one thing: first and last row, how often, the first few and the newest of them."""

    first: int
    last: int
    count: int
    examples: list[Fact] = field(default_factory=list)

    @property
    def newest(self) -> Fact:
        return self.examples[-1]


class FactLog:
    """Facts by key, in the order of first sight."""

    kept: ClassVar[int] = MAX_EXAMPLES

    def __init__(self) -> None:
        self.entries: dict[tuple[Any, ...], FactEntry] = {}

    def add(self, fact: Fact) -> FactEntry:
        entry = self.entries.get(fact.key())
        if entry is None:
            entry = self.entries[fact.key()] = FactEntry(fact.row, fact.row, 0)
        entry.last = max(entry.last, fact.row)
        entry.count += 1
        if len(entry.examples) >= self.kept:
            entry.examples.pop()
        entry.examples.append(fact)
        return entry

    def of(self, kind: type[Fact]) -> list[FactEntry]:
        return [e for e in self.entries.values() if isinstance(e.newest, kind)]


def to_json(fact: Fact) -> dict[str, Any]:
    """A fact as plain JSON values."""
    return {"fact": type(fact).__name__, **dataclasses.asdict(fact)}


def from_json(data: dict[str, Any]) -> Fact:
    """The inverse of `to_json`. KeyError or TypeError where the data is not of its form."""
    kind = KINDS[data["fact"]]
    values = {k: v for k, v in data.items() if k != "fact"}
    for name in ("site", "grows"):
        if isinstance(values.get(name), dict):
            values[name] = Site(**values[name])
    for name in ("values", "settings"):
        if not isinstance(values.get(name, {}), dict):
            raise TypeError(name)
    if "shape" in values:
        values["shape"] = tuple(values["shape"])
    return kind(**values)


def newest_of(entries: Iterable[FactEntry]) -> list[Any]:
    """The newest occurrence of each entry (typed loosely: the caller asked for one kind)."""
    return [entry.newest for entry in entries]
