"""Other settings in an optimizer's parameter groups, inside of its step only."""
from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from gradscope.trying.interventions.base import Arguments, Intervention, NumberOf


class SetLr(Intervention):
    """Each step uses the learning rate times `to / frm`: a whole schedule is scaled, so that its peak comes to `to`.

    Schedulers read and write `group["lr"]` between steps, where it is what they made it. Without `frm` the step uses
    `to` itself. `group`: an index (None: all groups). Learning rates in tensors stay tensors.
    """

    def __init__(
        self,
        number: int | None,
        number_of: NumberOf,
        to: float,
        frm: float | None = None,
        group: int | None = None,
    ) -> None:
        super().__init__(number, number_of)
        self._to, self._from, self._group = to, frm, group
        self._held: dict[int, list[tuple[dict[str, Any], Any, Any]]] = {}  # by id: group, its own lr, the step's

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if self.concerns(optimizer):
            self.after_step(optimizer)  # a step that raised has left its own behind
            held = self._held[id(optimizer)] = []
            for index, group in enumerate(optimizer.param_groups):
                if self._group in (None, index) and group.get("lr") is not None:
                    own, other = group["lr"], self._instead(group["lr"])
                    group["lr"] = other
                    held.append((group, own, other))
                    self.applied += 1
        return None

    def after_step(self, optimizer: Optimizer) -> None:
        for group, own, other in self._held.pop(id(optimizer), ()):
            if group.get("lr") is other:
                group["lr"] = own
            elif self._from and isinstance(group.get("lr"), float):  # the step has changed it
                group["lr"] *= self._from / self._to

    def _instead(self, lr: Any) -> Any:
        if not self._from:
            return torch.full_like(lr, self._to) if isinstance(lr, torch.Tensor) else self._to
        if isinstance(lr, torch.Tensor):
            with torch.no_grad():
                return lr * (self._to / self._from)
        return self._to if lr == self._from else lr * (self._to / self._from)


class SetOption(Intervention):
    """Each step uses `to` in place of what the parameter groups hold under `name`. `group`: an index (None: all)."""

    def __init__(self, number: int | None, number_of: NumberOf, name: str, to: Any, group: int | None = None) -> None:
        super().__init__(number, number_of)
        self._name, self._to, self._group = name, to, group
        self._held: list[tuple[dict[str, Any], Any]] = []

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        self.after_step(optimizer)  # a step that raised has left its own behind
        for index, group in enumerate(optimizer.param_groups if self.concerns(optimizer) else ()):
            if self._group in (None, index) and self._name in group:
                self._held.append((group, group[self._name]))
                group[self._name] = self._to
                self.applied += 1
        return None

    def after_step(self, optimizer: Optimizer) -> None:
        while self._held:
            group, own = self._held.pop()
            group[self._name] = own
