"""The hooks by which interventions take place."""
from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from gradscope.hooks.backward import roots_of
from gradscope.hooks.clipping import BY_NORM, cell_of
from gradscope.hooks.patching import Patch
from gradscope.hooks.sites import SiteFinder
from gradscope.trying.interventions import Intervention


class Installed:
    """Interventions at work: those that are to come before the recorder's own hooks, then, by `rest`, the others."""

    def __init__(self, interventions: Sequence[Intervention]) -> None:
        self._interventions = interventions
        self._handles: list[RemovableHandle] = []
        self._patches: list[Patch] = []
        self._sites = SiteFinder()
        self._depth = 0
        self._install([i for i in interventions if i.early])

    def rest(self) -> None:
        """To be called once the recorder's hooks are there."""
        self._install([i for i in self._interventions if not i.early])
        if self._interventions:
            self._patches.append(Patch(torch.autograd, "backward", self._backward))
            cell = cell_of(BY_NORM)
            if cell is not None:
                self._patches.append(Patch(cell, "cell_contents", self._clip))
        self._patches += [patch for one in self._interventions for patch in one.attempt(one.patches) or ()]

    def undo(self) -> None:
        while self._handles:
            self._handles.pop().remove()
        while self._patches:
            self._patches.pop().undo()

    def _install(self, interventions: Sequence[Intervention]) -> None:
        for one in interventions:

            def before(
                optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any], one: Intervention = one
            ) -> Any:
                return one.attempt(one.before_step, optimizer, args, kwargs)

            def after(
                optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any], one: Intervention = one
            ) -> None:
                one.attempt(one.after_step, optimizer)

            self._handles.append(register_optimizer_step_pre_hook(before))
            self._handles.append(register_optimizer_step_post_hook(after))

    def _clip(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def clip(*args: Any, **kwargs: Any) -> Any:
            for one in self._interventions:
                given = args[1] if len(args) > 1 else kwargs.get("max_norm")
                instead = one.attempt(one.max_norm, given)
                if instead is None:
                    continue
                if len(args) > 1:
                    args = (args[0], instead, *args[2:])
                else:
                    kwargs = {**kwargs, "max_norm": instead}
            return original(*args, **kwargs)

        return clip

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def backward(*args: Any, **kwargs: Any) -> Any:
            if self._depth or torch.compiler.is_compiling():
                return original(*args, **kwargs)
            site = self._sites.find(sys._getframe(1))
            roots, _ = roots_of(args, kwargs)
            for one in self._interventions:
                one.attempt(one.before_backward, roots, site)
            self._depth += 1
            try:
                result = original(*args, **kwargs)
            finally:
                self._depth -= 1
            for one in self._interventions:
                one.attempt(one.after_backward, site)
            return result

        return backward
