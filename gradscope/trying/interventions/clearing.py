"""Gradients cleared where they should have been."""
from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from gradscope.events import Site
from gradscope.hooks.patching import Patch
from gradscope.trying.interventions.base import Arguments, Intervention, NumberOf, around_closure


class InsertZeroGrad(Intervention):
    """Clears the optimizer's gradients before the first backward after its step.

    And before the first one after another optimizer's step, where that comes from another line: what a generator's loss
    has left in a discriminator is not what the discriminator is to step with. With a closure: before its backward.
    """

    def __init__(self, number: int | None, number_of: NumberOf) -> None:
        super().__init__(number, number_of)
        self._cleared: weakref.WeakKeyDictionary[Optimizer, Site | None] = weakref.WeakKeyDictionary()
        self._stepped = False  # some optimizer, since the last backward

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        return around_closure(args, kwargs, before=lambda: self.attempt(self.after_step, optimizer))

    def after_step(self, optimizer: Optimizer) -> None:
        self._stepped = True
        if self.concerns(optimizer):
            self._cleared[optimizer] = None

    def before_backward(self, roots: Sequence[torch.Tensor], site: Site) -> None:
        for optimizer, cleared in list(self._cleared.items()):
            if cleared is None or (self._stepped and site != cleared):
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.grad = None
                self._cleared[optimizer] = site
                self.applied += 1
        self._stepped = False


class MoveZeroGrad(InsertZeroGrad):
    """The same, and what clears the optimizer's gradients between their backward and its step does nothing."""

    def __init__(self, number: int | None, number_of: NumberOf) -> None:
        super().__init__(number, number_of)
        self._backwards = 0
        self._used: weakref.WeakKeyDictionary[Optimizer, int] = weakref.WeakKeyDictionary()  # backwards at its step

    def patches(self) -> list[Patch]:
        return [Patch(Optimizer, "zero_grad", self._of_optimizer), Patch(torch.nn.Module, "zero_grad", self._of_module)]

    def after_backward(self, site: Site) -> None:
        self._backwards += 1

    def after_step(self, optimizer: Optimizer) -> None:
        super().after_step(optimizer)
        if self.concerns(optimizer):
            self._used[optimizer] = self._backwards

    def _of_optimizer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def zero_grad(optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
            if not self.attempt(self._unused, optimizer):
                return original(optimizer, *args, **kwargs)

        return zero_grad

    def _of_module(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def zero_grad(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if not self.attempt(self._holds_unused, module):
                return original(module, *args, **kwargs)

        return zero_grad

    def _unused(self, optimizer: Optimizer) -> bool:
        """Whether a backward came after its last step (or the first one before its first)."""
        return self.concerns(optimizer) and self._backwards > self._used.get(optimizer, 0)

    def _holds_unused(self, module: torch.nn.Module) -> bool:
        mine = {id(p) for p in module.parameters()}
        several = [o for o in self._used if any(id(p) in mine for group in o.param_groups for p in group["params"])]
        return any(map(self._unused, several))
