"""CLIP: calls of torch's clip_grad_norm_ and clip_grad_value_, by whatever name the loop knows them.

`from torch.nn.utils import clip_grad_norm_` binds the function before anybody watches. What it binds is a wrapper that
sets no_grad and calls the function proper, which it holds in a closure cell: so that cell is what is patched.
"""
from __future__ import annotations

import functools
import math
import types
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

import torch
from torch.nn.utils import clip_grad

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

BY_NORM, BY_VALUE = "clip_grad_norm_", "clip_grad_value_"


class ClipCall(NamedTuple):
    """A call that has ended well, as it was made. Whoever is told of it keeps nothing of it but `total`.

    `kind`: "norm" or "value". `used_up`: the parameters came from an iterator that had nothing left to give.
    """

    kind: str
    given: Any
    by: Any  # max_norm or clip_value
    of_type: Any
    result: Any
    used_up: bool

    @property
    def parameters(self) -> Sequence[torch.Tensor]:
        if isinstance(self.given, torch.Tensor):
            return [self.given]
        return self.given if isinstance(self.given, (list, tuple)) else list(self.given)

    @property
    def limit(self) -> float:
        return float(self.by)

    @property
    def norm_type(self) -> float:
        return float(self.of_type) if self.kind == "norm" else math.inf

    @property
    def total(self) -> torch.Tensor | None:
        """The norm before the call # (), on its device; None where it is not known to this process alone."""
        whole = isinstance(self.result, torch.Tensor) and not hasattr(self.result, "to_local")
        return self.result if self.kind == "norm" and whole else None


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """The two functions proper; the deprecated `clip_grad_norm` calls the first."""
    found = [(kind, cell_of(name)) for kind, name in (("norm", BY_NORM), ("value", BY_VALUE))]
    return [Patch(cell, "cell_contents", _maker(dispatcher, kind)) for kind, cell in found if cell is not None]


def cell_of(name: str) -> Any:
    """The closure cell that holds the function proper; None where somebody has put another function there."""
    for cell in getattr(getattr(clip_grad, name, None), "__closure__", None) or ():
        if getattr(cell.cell_contents, "__name__", "") == name:
            return cell
    return None


def can_be_seen() -> bool:
    return cell_of(BY_NORM) is not None


def _maker(dispatcher: Dispatcher, kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    mine = dispatcher.generation
    limit = "max_norm" if kind == "norm" else "clip_value"

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def clip(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():
                return original(*args, **kwargs)
            given, used_up = args[0] if args else kwargs.get("parameters"), False
            if isinstance(given, Iterator):  # it can be read only once
                fresh = isinstance(given, types.GeneratorType) and given.gi_frame is not None
                given = list(given)
                used_up = not (given or fresh)
                result = _call(original, given, args, kwargs)
            else:
                result = original(*args, **kwargs)
            if dispatcher.listening(mine):
                by = args[1] if len(args) > 1 else kwargs.get(limit)
                norm_type = args[2] if len(args) > 2 else kwargs.get("norm_type", 2.0)
                dispatcher.send("clipped", ClipCall(kind, given, by, norm_type, result, used_up))
            return result

        return clip

    return make


def _call(original: Callable[..., Any], given: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the function with a list of what the iterator gave.

    Where it gave nothing, with the iterator itself: torch warns of an empty generator, at the line two frames above its
    own. The frames here are two more, so that the warning is sent on from here.
    """
    if given:
        return original(given, *args[1:], **kwargs) if args else original(**{**kwargs, "parameters": given})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = original(*args, **kwargs)
    for warning in caught:
        warnings.warn(warning.message, warning.category, stacklevel=4)
    return result
