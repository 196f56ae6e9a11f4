"""COLLECTIVES that the loop calls by hand: which tensors it hands to other processes.

They are patched once a process group is there, so a run in one process never meets them. What DDP does by itself runs
below these functions and is not seen.
"""
from __future__ import annotations

import contextlib
import functools
import importlib
from typing import TYPE_CHECKING, Any, Callable

import torch

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_REDUCING = ("all_reduce", "all_reduce_coalesced")
_SPREADING = ("broadcast", "all_gather", "all_gather_into_tensor")
_OTHERS = (
    "all_to_all", "all_to_all_single", "reduce_scatter", "reduce_scatter_tensor", "send", "recv", "isend", "irecv",
    "reduce", "gather", "scatter", "batch_isend_irecv",
)  # fmt: skip
_MOST = 1 << 16  # tensors remembered


class Handed:
    """Where the tensors lie in memory that were handed over: `reduced` by all_reduce among all ranks since the newest
    backward, `spread` by anything since the newest step that was seen, `large` those of them that hold more than one
    floating-point number. `exchanged`: some of these went by something else than all_reduce or broadcast. `sizes`: how
    many numbers each of the reduced held; `largest`: the most that any tensor held, whatever happened to it.

    Addresses tell of tensors that are still there.
    """

    def __init__(self) -> None:
        self.reduced: set[int] = set()
        self.spread: set[int] = set()
        self.large: set[int] = set()
        self.exchanged = False
        self.sizes: list[int] = []
        self.largest = 0

    def backward(self) -> None:
        self.reduced.clear()
        self.sizes.clear()

    def step(self) -> None:
        self.spread.clear()
        self.large.clear()
        self.exchanged = False

    def take(self, name: str, tensors: list[torch.Tensor], group: Any) -> None:
        if len(self.spread) > _MOST:
            self.step()
        for tensor in tensors:
            where = address(tensor)
            if where and tensor.is_floating_point():
                self.spread.add(where)
                self.largest = max(self.largest, tensor.numel())
                if tensor.numel() > 1:
                    self.large.add(where)
                    self.exchanged = self.exchanged or name not in (*_REDUCING, "broadcast")
                if name in _REDUCING and (group is None or group is torch.distributed.group.WORLD):
                    self.reduced.add(where)
                    self.sizes.append(tensor.numel())


def address(tensor: torch.Tensor) -> int:
    """Where a plain tensor's values lie; 0 where it has none."""
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    return tensor.data_ptr() if plain else 0


def late_patches(dispatcher: Dispatcher) -> list[Patch]:
    """The functions, under both of their names; none before there is a process group of several.

    torch._dynamo knows them by identity, from a module that is imported late: before anything is patched, that is.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return []
    with contextlib.suppress(Exception):
        importlib.import_module("torch.distributed._functional_collectives")
    mine, handed = dispatcher.generation, dispatcher.handed
    made: dict[Callable[..., Any], Callable[..., Any]] = {}

    def make(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling() and dispatcher.hears(mine):
                dispatcher.contain(lambda: handed.take(name, _tensors(args, kwargs), _group(args, kwargs)))
            return original(*args, **kwargs)

        return made.setdefault(original, wrapper)

    def parting(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not args and not kwargs and dispatcher.hears(mine):
                dispatcher.send("processes_part")
            return original(*args, **kwargs)

        return made.setdefault(original, wrapper)

    owners = (distributed.distributed_c10d, distributed)
    names = [name for name in (*_REDUCING, *_SPREADING, *_OTHERS) if all(hasattr(owner, name) for owner in owners)]
    patched = [Patch(owner, name, functools.partial(make, name)) for name in names for owner in owners]
    return patched + [Patch(owner, "destroy_process_group", parting) for owner in owners]


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in (*args, *kwargs.values()):
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, torch.Tensor):
                found.append(one)
            elif isinstance(getattr(one, "tensor", None), torch.Tensor):  # a P2POp
                found.append(one.tensor)
    return found


def _group(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if "group" in kwargs:
        return kwargs["group"]
    return next((value for value in args if isinstance(value, torch.distributed.ProcessGroup)), None)
