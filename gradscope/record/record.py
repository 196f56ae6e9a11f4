"""What rules, reports and timelines read: one run's rows, parameters, losses, facts. Plain numpy, no torch."""
from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable, Hashable, Mapping, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gradscope.events import Point, Site
from gradscope.facts.fact import FactLog
from gradscope.record.blocks import Blocks
from gradscope.record.metrics import Metric

Array = npt.NDArray[Any]
ONE_PROCESS = "one process only"  # why nothing was compared between ranks
T = TypeVar("T")


class Wiring(enum.IntFlag):
    """What was true of one step of one optimizer (a bit set, one byte a row)."""

    ALL_MISSING = 1  # no trainable parameter had a gradient
    SOME_MISSING = 2  # some had none
    OLD_INSIDE = 4  # the step used gradients with a part that an earlier step had used
    CLEARED = 8  # backward had reached it, and everything backward made was gone
    UNREACHED = 16  # backwards ran since its previous step, none reached it
    NO_BACKWARD = 32  # no backward ran at all since its previous step
    STATISTICS = 64  # the row was measured, not only watched
    NO_LOSS = 128  # no scalar loss is known for the row


@dataclass(frozen=True)
class Parameter:
    """One column of an optimizer's arrays."""

    name: str
    shape: tuple[int, ...]
    group: int
    dtype: str = ""  # "float32", "bfloat16"...; "" where it is not known
    place: int = -1  # sorted by it, parameters are in the order of their model; -1 where no model is known


@dataclass(frozen=True)
class OptimizerRecord:
    """One optimizer's steps.

    `rows` # (rows,) are the run's row numbers at which it stepped; `scalars[name]` # (rows,), `lr` # (rows, groups).
    `measured` # (measured,) are the row numbers of the per-parameter arrays: `grad_state[point]` and `grad_norm[point]`
    # (measured, params), `weight_norm` and `update_norm` # (measured, params; NaN where not scheduled).
    `counters[name]` # (params,) have seen every row, also those that were thinned out:
    steps (with the parameter trainable), missing, reached, old, old_first, old_last, cleared (-1: never). `losses` and
    `joint_losses` (None where they are the same) have seen every row, too: the losses of each course in blocks.
    """

    number: int
    kind: str  # its class
    variable: str  # what the loop calls it
    parameters: tuple[Parameter, ...]
    scalars: Mapping[str, Array]
    arrays: Mapping[str, Array]
    counters: Mapping[str, Array]
    losses: Mapping[int, Blocks] = field(default_factory=dict)
    joint_losses: Mapping[int, Blocks] | None = None

    @property
    def rows(self) -> Array:
        return self.scalars["row"]

    @property
    def measured(self) -> Array:
        return self.arrays["row"]

    @property
    def lr(self) -> Array:
        return self.scalars["lr"]

    @property
    def wiring(self) -> Array:
        return self.scalars["wiring"]

    def grad_state(self, point: Point) -> Array:
        """# (measured, params) GradState"""
        return np.asarray(self.arrays["state"][:, point])

    def grad_norm(self, point: Point) -> Array:
        """# (measured, params) L2 norms; NaN where there was no gradient (see `grad_state`) or it was not measured"""
        return np.asarray(self.arrays["norm"][:, point])

    def names(self, which: Array) -> tuple[str, ...]:
        """The names of the parameters in the mask `which` # (params,)."""
        return tuple(p.name for p, hit in zip(self.parameters, which) if hit)


@dataclass(frozen=True)
class Stream:
    """The optimizers that always step in the same rows; its number is that of the first of them."""

    number: int
    optimizers: tuple[OptimizerRecord, ...]

    @property
    def rows(self) -> Array:
        return self.optimizers[0].rows

    @cached_property
    def loss(self) -> Array:
        """# (rows,) The loss of each row, NaN where it was no scalar.

        One optimizer: the loss over the backwards that reached it. Several: the same where they agree, else the loss
        over all backwards of the row.
        """
        first = np.asarray(self.optimizers[0].scalars["loss"])
        same = np.ones(len(first), np.bool_)
        for other in self.optimizers[1:]:
            loss = other.scalars["loss"]
            if len(loss) != len(first):
                return first
            same &= (loss == first) | (np.isnan(loss) & np.isnan(first))
        return np.where(same, first, self.optimizers[0].scalars["joint_loss"])

    @cached_property
    def courses(self) -> Mapping[int, Blocks]:
        """The same losses in blocks, over the whole run: those from each line, and of each kind, by themselves.

        The column `course` of the scalars tells which one a row belongs to (-1: none).
        """
        first = self.optimizers[0]
        if len(self.optimizers) == 1 or first.joint_losses is None:
            return first.losses
        return first.joint_losses


@dataclass
class Meta:
    """What is known of the run as a whole."""

    script: str = ""
    argv: tuple[str, ...] = ()
    status: str = "running"  # running, finished, crashed, interrupted
    exit_code: int | None = None
    rank: int | None = None  # of the processes that train together: which one this is; None where it is alone,
    world: int | None = None  # and how many they are
    torch: str = ""
    gradscope: str = ""
    optimizers: list[str] = field(default_factory=list)  # the kind of each, by number, also of those that never step
    rows: int = 0
    backwards: int = 0
    overhead: float = 0.0  # gradscope's own time against the loop's
    seconds: float = 0.0  # gradscope's own time
    budget: float = 0.0  # the share of the loop's time that all but watching the calls was to keep to
    strides: list[tuple[int, int]] = field(default_factory=list)  # (row, k): from there every k-th is measured; 0: none
    blind: dict[str, str] = field(default_factory=dict)  # what could not be seen -> why
    notes: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # what was not checked, as of the last time rules ran -> why

    @property
    def stride(self) -> int:
        """k, where every k-th row is measured now; 0: none."""
        return self.strides[-1][1] if self.strides else 1

    @property
    def measured(self) -> int:
        """In how many rows norms were measured as it was their turn; triggers measure others, too."""
        ends = [row for row, _ in self.strides[1:]] + [self.rows]
        turns = (-(-(end - row) // k) for (row, k), end in zip(self.strides, ends) if k and end > row)
        return sum(turns) if self.strides else self.rows

    @property
    def ended(self) -> bool:
        return self.status != "running"


@dataclass(frozen=True)
class Record:
    """One run. Rules read it and change nothing. `optimizers` are those that have stepped, by number."""

    optimizers: tuple[OptimizerRecord, ...]
    partition: tuple[tuple[int, ...], ...]  # optimizer numbers, grouped into streams
    facts: FactLog
    sites: tuple[Site, ...]
    meta: Meta
    metrics: tuple[Metric, ...] = ()
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def once(self, what: Hashable, find: Callable[[], T]) -> T:
        """What `find()` gives, found but once: several rules ask the same of a record."""
        if what not in self._known:
            self._known[what] = find()
        return cast(T, self._known[what])

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        known = {o.number: o for o in self.optimizers}
        groups = (tuple(known[n] for n in group if n in known) for group in self.partition)
        return tuple(Stream(group[0].number, group) for group in groups if group)

    def stream(self, number: int) -> Stream | None:
        return next((stream for stream in self.streams if stream.number == number), None)

    def stream_of(self, optimizer: int) -> int:
        """The number of the stream that an optimizer belongs to."""
        return next((group[0] for group in self.partition if optimizer in group), optimizer)

    def site(self, index: int) -> Site | None:
        return self.sites[index] if 0 <= index < len(self.sites) else None
