"""What every intervention is: hooks into a running loop, called one after the other."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

from gradscope.events import Site
from gradscope.hooks.optimizer import closure_of, with_closure
from gradscope.hooks.patching import Patch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
NumberOf = Callable[[Optimizer], int]


class Intervention:
    """One change of one optimizer (None: of all). `applied` counts how often it took place.

    Nothing in here may raise into the loop: a `failure` ends it, and is told with the verdict. `early`: it comes before
    the recorder's own hooks, so that the record, too, holds what the step will use.
    """

    early: ClassVar[bool] = False

    def __init__(self, number: int | None, number_of: NumberOf) -> None:
        self.applied, self.failure = 0, ""
        self._number, self._number_of = number, number_of

    def patches(self) -> list[Patch]:
        """What of torch it replaces; installed once the recorder's hooks are there, and undone with the others."""
        return []

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """What the step is to be called with instead (None: as it was called)."""
        return None

    def after_step(self, optimizer: Optimizer) -> None: ...

    def before_backward(self, roots: Sequence[torch.Tensor], site: Site) -> None: ...

    def after_backward(self, site: Site) -> None: ...

    def max_norm(self, given: Any) -> Any:
        """What clip_grad_norm_ is to clip at, where the script says `given`."""
        return given

    def attempt(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of the above, unless it has failed before, or torch.compile is tracing."""
        if self.failure or torch.compiler.is_compiling():
            return None
        try:
            return call(*arguments)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"

    def concerns(self, optimizer: Optimizer) -> bool:
        number = self._number_of(optimizer)
        return number >= 0 if self._number is None else number == self._number


def around_closure(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    before: Callable[[], Any] = lambda: None,
    after: Callable[[], Any] = lambda: None,
) -> Arguments | None:
    """The step's arguments with something done around its closure; None where it has no closure."""
    closure = closure_of(args, kwargs)
    if closure is None:
        return None

    @functools.wraps(closure)
    def wrapped(*a: Any, **k: Any) -> Any:
        before()
        result = closure(*a, **k)
        after()
        return result

    return with_closure(args, kwargs, wrapped)
