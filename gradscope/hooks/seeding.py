"""SEEDING: calls of torch.manual_seed, and whether random numbers were drawn between one and the model's next call."""
from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from gradscope.events import Site
from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_NAME = "manual_seed"
_FIRST = 4  # calls whose line is looked up


class Seeds:
    """`alike`: so many of the newest calls were given the same seed; `site` is where one of them was made.

    `drew`: whether the numbers of the newest seed were drawn from, by the time that a module was called; None where no
    call was made since it was asked last, or no module call seen.
    """

    def __init__(self) -> None:
        self.alike = 0
        self.site: Site | None = None
        self.library = False
        self._seed: int | None = None
        self._pending = False
        self._drew: bool | None = None

    def seeded(self, seed: int, find: Callable[[], tuple[Site, bool]]) -> None:
        if seed != self._seed:
            self.alike, self._seed = 0, seed
        self.alike += 1
        if self.alike <= _FIRST:  # the first of them may be the one before the loop
            self.site, self.library = find()
        self._pending = True

    def entered(self) -> None:
        """A module is called by the loop, in a row that is looked at closely."""
        if not self._pending or self._seed is None:
            return
        self._pending = False
        with contextlib.suppress(RuntimeError, NotImplementedError):  # fake tensors have no values
            fresh = torch.Generator().manual_seed(self._seed).get_state()
            self._drew = not torch.equal(fresh, torch.default_generator.get_state())

    def drew(self) -> bool | None:
        found, self._drew = self._drew, None
        return found


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """The function has two names; pickle asks for one and the same under both.

    When torch._dynamo is imported it replaces torch.manual_seed by a wrapper around what stands there. Where that was
    ours it stays there, inert.
    """
    mine = dispatcher.generation
    seeds = dispatcher.seeds = Seeds()
    made: dict[Callable[..., Any], Callable[..., Any]] = {}

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def manual_seed(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            if not torch.compiler.is_compiling() and dispatcher.hears(mine):
                caller, sites = sys._getframe(1), dispatcher.sites

                def found() -> tuple[Site, bool]:
                    return sites.find(caller), sites.rank(caller.f_code.co_filename) != 2

                dispatcher.contain(lambda: seeds.seeded(result.initial_seed(), found))
            return result

        return made.setdefault(original, manual_seed)

    return [Patch(torch.random, _NAME, make), Patch(torch, _NAME, make)]
