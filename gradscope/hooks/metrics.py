"""METRIC: what the loop tells others of its validation: TensorBoard's writers, and ReduceLROnPlateau.

torch.utils.tensorboard may be imported long after torch, and must not be imported by us: `late_patches` is asked again
until it is there.
"""
from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Callable

from torch.optim import lr_scheduler

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_WRITERS = "torch.utils.tensorboard.writer"
_JUDGES = ("_is_better", "is_better")  # torch 2.15's name, torch 2.4's


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """The method that ReduceLROnPlateau compares with its best by: `step` itself stays as it is (see scheduler.py)."""
    mine = dispatcher.generation

    def compare(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if args and dispatcher.listening(mine, aside=True) and getattr(scheduler, "mode", "") == "min":
                frame = sys._getframe(1)
                dispatcher.send("metric_seen", "plateau", "ReduceLROnPlateau's metric", args[0], scheduler, frame)
            return original(scheduler, *args, **kwargs)

        return wrapper

    plateau = lr_scheduler.ReduceLROnPlateau
    return [Patch(plateau, name, compare) for name in _JUDGES if name in vars(plateau)]


def late_patches(dispatcher: Dispatcher) -> list[Patch]:
    """`add_scalar` and `add_scalars` of torch's SummaryWriter; none where it has not been imported yet."""
    writer = getattr(sys.modules.get(_WRITERS), "SummaryWriter", None)
    if not isinstance(writer, type):
        return []
    mine = dispatcher.generation

    def one(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            if dispatcher.listening(mine, aside=True):
                tag, value = _argument(args, kwargs, 0, "tag"), _argument(args, kwargs, 1, "scalar_value")
                dispatcher.send("metric_seen", "tensorboard", tag, value, None, sys._getframe(1))
            return result

        return wrapper

    def several(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            if dispatcher.listening(mine, aside=True):
                tag = _argument(args, kwargs, 0, "main_tag")
                values = _argument(args, kwargs, 1, "tag_scalar_dict")
                for name, value in values.items() if isinstance(values, dict) else ():
                    whole = f"{tag}/{name}"
                    dispatcher.send("metric_seen", "tensorboard", whole, value, None, sys._getframe(1))
            return result

        return wrapper

    return [Patch(writer, "add_scalar", one), Patch(writer, "add_scalars", several)]


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)
