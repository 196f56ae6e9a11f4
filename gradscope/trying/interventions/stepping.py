"""Steps that were never made, and parameters that no step reached."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from gradscope.events import Site
from gradscope.hooks.graph import survey
from gradscope.trying.interventions.base import Arguments, Intervention, NumberOf


class InsertStep(Intervention):
    """Calls the optimizer's `step()` after each backward of one line."""

    def __init__(
        self, number: int | None, number_of: NumberOf, known: Callable[[], Iterable[Optimizer]], line: int
    ) -> None:
        super().__init__(number, number_of)
        self._known, self._line = known, line

    def after_backward(self, site: Site) -> None:
        for optimizer in list(self._known()) if site.line == self._line else ():
            if self.concerns(optimizer):
                optimizer.step()
                self.applied += 1


class AddParameters(Intervention):
    """The optimizer's first group also gets the `count` parameters that a loss reaches and that no optimizer holds.

    Before the first step after so many were found; where there are more of them, it is not known which are meant.
    """

    early = True

    def __init__(
        self, number: int | None, number_of: NumberOf, known: Callable[[], Iterable[Optimizer]], count: int
    ) -> None:
        super().__init__(number, number_of)
        self._known, self._count = known, count
        self._found: dict[int, torch.nn.Parameter] = {}

    def before_backward(self, roots: Sequence[torch.Tensor], site: Site) -> None:
        if not self.applied:
            owned = {id(p) for o in self._known() for group in o.param_groups for p in group["params"]}
            leaves = survey(roots).leaves
            free = [p for p in leaves if isinstance(p, torch.nn.Parameter) and id(p) not in owned]
            self._found.update((id(p), p) for p in free)

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not self.applied and len(self._found) == self._count and self.concerns(optimizer):
            optimizer.param_groups[0]["params"].extend(self._found.values())
            self.applied += 1
        return None
