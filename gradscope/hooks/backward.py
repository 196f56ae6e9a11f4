"""BACKWARD: one patch of torch.autograd.backward, which Tensor.backward calls by attribute.

`torch.autograd.grad` leaves `.grad` alone and rightly gives no event.
"""
from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

import torch

from gradscope.events import Phase
from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """The patch of `torch.autograd.backward`."""

    mine = dispatcher.generation

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def backward(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not dispatcher.listening(mine, trains=True):
                return original(*args, **kwargs)
            try:
                if not dispatcher.enter_backward():
                    return original(*args, **kwargs)
                if args and isinstance(args[0], torch.Tensor):  # as `Tensor.backward` calls it
                    grads = args[1] if len(args) > 1 else kwargs.get("grad_tensors")
                    event = dispatcher.begin(Phase.BACKWARD, args[:1], grads is None)
                else:
                    args = _once(args)
                    event = dispatcher.begin(Phase.BACKWARD, *roots_of(args, kwargs))
                try:
                    return original(*args, **kwargs)
                except RuntimeError as error:
                    dispatcher.send("backward_failed", error, event)
                    raise
                finally:
                    dispatcher.end(event)
            finally:
                dispatcher.leave_backward()

        return backward

    return [Patch(torch.autograd, "backward", make)]


def _once(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, tensors given by a generator made a tuple: it can be read only once."""
    if args and isinstance(args[0], Iterator):
        return (tuple(args[0]), *args[1:])
    return args


def roots_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[torch.Tensor, ...], bool]:
    """The tensors that backward starts from, and whether no output gradients were given with them."""
    tensors = args[0] if args else kwargs.get("tensors", ())
    grads = args[1] if len(args) > 1 else kwargs.get("grad_tensors")
    roots = tensors if isinstance(tensors, (list, tuple)) else (tensors,)
    return tuple(root for root in roots if isinstance(root, torch.Tensor)), grads is None
