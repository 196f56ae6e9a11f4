"""Reading what the operations of a live graph have saved for backward: values of the forward, without a hook in it."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_RAW, _SAVED = "_raw_saved_", "_saved_"
_TELLS_HOOKS = hasattr(torch._C._autograd.SavedTensor, "unpack_hook")  # torch 2.4 does not

_slots: dict[type, tuple[str, ...]] = {}  # by the class of a node
_hooks_in_use = False  # since `patches`; kept only where a saved tensor does not tell


class Saved(NamedTuple):
    """A tensor that an operation has saved: an input of it, or (`result...`) what it has made.

    `tensor` is None where it must not be read, and `why` tells: "hooks" (unpacking it runs code of others: activation
    checkpointing computes the forward again), "changed" (written over in place since) or "freed" (backward has run).
    """

    name: str
    tensor: torch.Tensor | None
    why: str = ""

    @property
    def made(self) -> bool:
        """The operation has made it."""
        return self.name.startswith("result")


def saved(node: Any) -> list[Saved]:
    """What a node of the graph has saved, as far as it is there. Changes nothing, runs nothing; about 2 us a tensor.

    Inputs have the names of torch's own formulas (`self`, `weight`, `mat1`...); those of an autograd Function written
    in Python are `tensors0`, `tensors1`...
    """
    kind = type(node)
    names = _slots.get(kind)
    if names is None:
        names = _slots[kind] = tuple(name[len(_RAW) :] for name in dir(kind) if name.startswith(_RAW))
    return [one for name in names for one in _read(node, name) if one.tensor is not None or one.why]


def saved_as(node: Any, name: str) -> torch.Tensor | None:
    """The tensor that a node has saved under this name; None where there is none, or it must not be read."""
    if not hasattr(type(node), _RAW + name):
        return None
    found = _read(node, name)
    return found[0].tensor if len(found) == 1 else None


def _read(node: Any, name: str) -> list[Saved]:
    try:
        raw = getattr(node, _RAW + name)
        several = isinstance(raw, (list, tuple))
        if any(map(_has_hooks, raw if several else (raw,))):
            return [Saved(name, None, "hooks")]
        # A Function written in Python calls its saved tensors just so.
        value = getattr(node, "saved_tensors" if name == "tensors" else _SAVED + name)
    except RuntimeError as error:
        return [Saved(name, None, "changed" if "modified by an inplace operation" in str(error) else "freed")]
    if several:
        return [Saved(f"{name}{i}", one) for i, one in enumerate(value)]
    return [Saved(name, value if isinstance(value, torch.Tensor) else None)]


def _has_hooks(raw: Any) -> bool:
    return raw.unpack_hook is not None if _TELLS_HOOKS else _hooks_in_use


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """Where a saved tensor does not tell whether it has hooks: a patch that notes when any are in use."""
    global _hooks_in_use
    _hooks_in_use = False
    if _TELLS_HOOKS:
        return []
    return [Patch(saved_tensors_hooks, "__enter__", _noting)]


def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def enter(*args: Any, **kwargs: Any) -> Any:
        global _hooks_in_use
        _hooks_in_use = True
        return original(*args, **kwargs)

    return enter
