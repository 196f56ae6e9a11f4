"""What probes find out of values that are no numbers."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class LossOrigin(Fact):
    """Where a loss that is NaN or infinite was born, in the graph of that loss.

    `kind`: operation (`operations` is that one, `what` it met), between (one of `operations`, in forward order),
    constant (a tensor without gradient came in so), parameter (`parameters` were not finite before), unknown.
    `inside`, `before` and `after` are names of parameters: of the operation itself, the nearest before and after it.
    `why`: what could not be read on the way (hooks, changed, freed, size).

    Of a constant: `role` (input, target, statistics, mask or tensor), `variable` (what the loop calls it),
    `samples` of its `batch` entries hold what is `broken`; `features`: the columns that are broken in each sample.
    Of parameters: `count` of `of` are not finite; `cause`: lr, setting, gradient, update, start or elsewhere, with
    `detail`. `optimizers`: the numbers of those that the loss reaches, as far as they had one. `replayed`: by running
    the forward again, which tells the `module` and the line. `of_gradient`: the loss of this row was a number, and the
    gradients of the layer that took this constant were not.
    """

    kind: str
    what: str = ""
    operations: tuple[str, ...] = ()
    inside: str = ""
    before: str = ""
    after: str = ""
    why: str = ""
    role: str = ""
    variable: str = ""
    broken: str = ""
    samples: int = 0
    batch: int = 0
    features: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    count: int = 0
    of: int = 0
    cause: str = ""
    detail: str = ""
    optimizers: tuple[int, ...] = ()
    site: Site | None = None
    replayed: bool = False
    module: str = ""
    of_gradient: bool = False

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.row, self.replayed)


@dataclass(frozen=True)
class GradientOrigin(Fact):
    """Gradients that were not finite while the loss was: `count` of `of` parameters, the first ones by name.

    `operations`: those of the graph that can do so and that only, or all, of these parameters stand before (`singular`
    in words; empty where none is known). `before` and `after`: names of the nearest parameters around. `late`: seen by
    the parameters, at the next loss; then `row` is that of the next loss, and the gradients those of the row before it.
    `replayed`: the one operation, by running the forward and the backward again, and `what` it met.
    `masked`: it stands before a torch.where or the like.
    """

    optimizers: tuple[int, ...]
    parameters: tuple[str, ...]
    count: int
    of: int
    operations: tuple[str, ...] = ()
    singular: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    late: bool = False
    replayed: bool = False
    what: str = ""
    site: Site | None = None
    masked: bool = False

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.row, self.optimizers, self.replayed)
