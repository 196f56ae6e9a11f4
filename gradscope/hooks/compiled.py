"""COMPILED: the entrance to what torch.compile has compiled, where our hooks leave its sight.

Dynamo guards a compiled function on torch's global hook tables and on the functions that it calls. Whatever of ours
stands there only now and then would have it compiled again; so it is taken away at the entrance. What is found there
by every call is the same for every call.
"""
from __future__ import annotations

import functools
import sys
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from torch._guards import CompileContext
from torch.utils.hooks import RemovableHandle

from gradscope.hooks import apart
from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_ENTRANCE = "torch._dynamo.eval_frame"
_NAMES = ("set_eval_frame", "_maybe_set_eval_frame")  # the second is called by newer torch


class Regions:
    """`inside`: a compiled function is at work, as one graph or not at all (`one_graph`) or with graph breaks.

    `entered`: how many times one was entered so far. Each of the `curtains` is called with whether to hide something.
    """

    def __init__(self) -> None:
        self.inside = self.one_graph = False
        self.entered = 0
        self.curtains: list[Callable[[bool], None]] = []

    def switched(self, callback: Any) -> None:
        """Dynamo is being switched on with this callback, or has been switched off."""
        self.inside = callable(callback)
        if self.inside:
            self.entered += 1
            self.one_graph = _one_graph(callback)
        for curtain in self.curtains:
            curtain(self.inside)


class HiddenHooks:
    """A curtain before hooks in torch's own tables, for regions where a graph break would be an error."""

    def __init__(self, regions: Regions, handles: list[RemovableHandle]) -> None:
        self._regions, self._handles = regions, handles
        self._taken: list[tuple[MutableMapping[int, Any], int, Any]] = []

    def __call__(self, hide: bool) -> None:
        if hide and self._regions.one_graph and not self._taken:
            for handle in self._handles:
                table = handle.hooks_dict_ref()
                if table is not None and handle.id in table:
                    self._taken.append((table, handle.id, table.pop(handle.id)))
        elif not hide:
            while self._taken:
                table, number, hook = self._taken.pop()
                table[number] = hook


def late_patches(dispatcher: Dispatcher) -> list[Patch]:
    """Torch's switch of Dynamo, by the names that the entrance uses; none before torch._dynamo has been imported."""
    room = sys.modules.get(_ENTRANCE)
    if not all(hasattr(room, name) for name in (_NAMES[0], "skip_code", "innermost_fn")):
        return []
    mine, regions = dispatcher.generation, dispatcher.regions

    def make(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(original)
        def set_eval_frame(callback: Any) -> Any:
            on = callable(callback)
            if on is regions.inside or not dispatcher.hears(mine) or _compiles():
                return original(callback)
            if on:
                dispatcher.contain(lambda: regions.switched(callback))
                return original(callback)
            prior = original(callback)
            dispatcher.contain(lambda: regions.switched(callback))
            return prior

        return set_eval_frame

    apart.never_compiled()
    return [Patch(room, name, make) for name in _NAMES if hasattr(room, name)]


def _compiles() -> bool:
    """Dynamo is at work itself: it switches itself off and on again."""
    return CompileContext.try_get() is not None


def _one_graph(callback: Any) -> bool:
    """Whether a graph break would be an error (torch.compile(fullgraph=True)), or what is watched is traced, too."""
    if getattr(sys.modules.get("torch._dynamo.config"), "trace_autograd_ops", False):
        return True
    inner = getattr(callback, "_torchdynamo_orig_backend", getattr(callback, "_torchdynamo_orig_callable", None))
    return bool(getattr(callback, "_one_graph", False) or getattr(inner, "_one_graph", False))
