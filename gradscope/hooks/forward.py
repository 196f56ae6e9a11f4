"""FORWARD, watched on chosen rows only: which modules were called, under which grad mode, with what going in and out.

Standing instance hooks break pickling, standing global ones cost 1.2 us a module and call; so the two global hooks are
registered for a few rows and removed again.
"""
from __future__ import annotations

import functools
import inspect
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules import module as torch_module
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from gradscope.hooks.patching import Patch

# torch before 2.6 gives global hooks no keyword arguments.
_OPTIONS: dict[str, bool] = {
    name: True
    for name in ("with_kwargs", "always_call")
    if name in inspect.signature(register_module_forward_hook).parameters
}
_WARNED_OF = "_has_any_global_hook"  # torch 2.11 and newer
_TABLES = tuple(
    f"_global_{name}"
    for name in (
        *("backward_pre_hooks", "backward_hooks", "forward_pre_hooks", "forward_hooks"),
        *("forward_hooks_always_called", "forward_hooks_with_kwargs"),
    )
)
_MAX_CALLS = 20_000
_MAX_TENSORS = 16


@dataclass
class Glimpse:
    """What is kept of a tensor that went into or came out of a module: no reference to its values."""

    requires_grad: bool
    whole_numbers: bool  # an integer dtype, or floats that are all whole numbers and not all zero
    storage: StorageWeakRef | None  # equal where the memory is shared; None: it has none
    offset: int  # where in the storage it begins
    node: Any  # its grad_fn, or None; let go of before backward
    reached: bool = False  # backward passes the node


@dataclass
class Call:
    """One call of a module, in the order in which the calls began."""

    module: nn.Module
    depth: int
    grad_enabled: bool
    has_parameters: bool = False
    training: bool = True  # the module's mode, then
    inputs: list[Glimpse] = field(default_factory=list)
    outputs: list[Glimpse] = field(default_factory=list)


class ForwardTrace:
    """The module calls since the last `clear`, while on. `blind` says why there are none, where that is known."""

    def __init__(
        self,
        guard: Callable[[], bool],
        failed: Callable[[BaseException], None],
        spent: Callable[[float], None],
        entered: Callable[[], None],
    ) -> None:
        self.calls: list[Call] = []
        self.called: list[nn.Module] = []  # the compiled model that made it blind, until the next `clear`
        self.blind = ""
        self._broken = False
        self._guard = guard  # whether to look now
        self._failed = failed
        self._spent = spent  # so many seconds in a hook
        self._entered = entered  # the loop itself calls a module
        self._stack: list[Call] = []
        self._handles: list[RemovableHandle] = []
        self._unwarned: Patch | None = None

    @property
    def on(self) -> bool:
        return bool(self._handles)

    def start(self) -> None:
        if self._handles or self.blind or self._broken:
            return
        self._handles = [
            register_module_forward_pre_hook(self._contained(self._before)),
            register_module_forward_hook(self._contained(self._after), **_OPTIONS),
        ]
        if hasattr(torch_module, _WARNED_OF):
            self._unwarned = Patch(torch_module, _WARNED_OF, self._but_ours)

    def _but_ours(self, original: Callable[[], Any]) -> Callable[[], Any]:
        """What torch.compile asks before it warns of hooks: of ours the user has nothing to know."""

        def others() -> Any:
            ours = {handle.id for handle in self._handles}
            return original() and any(key not in ours for name in _TABLES for key in getattr(torch_module, name, ()))

        return others

    def stop(self) -> None:
        unwarned, self._unwarned = self._unwarned, None
        if unwarned is not None:
            unwarned.undo()
        while self._handles:
            handle = self._handles.pop()
            handle.remove()
            # torch keeps this entry of a hook registered with both options (seen in 2.15; 2.4 has no such table).
            getattr(torch_module, "_global_forward_hooks_with_kwargs", {}).pop(handle.id, None)
        self.clear()

    def curtain(self, hide: bool) -> None:
        """Dynamo would compile with these hooks, and once more without them. So they go, for good."""
        if hide and self._handles:
            self.blind = "torch.compile is at work, and module calls inside of it cannot be watched"
            self.stop()

    def clear(self) -> None:
        self.calls = []
        self.called = []
        self._stack = []

    def roots(self) -> list[nn.Module]:
        """The modules that the loop itself called, in order, each once."""
        found: dict[int, nn.Module] = {id(c.module): c.module for c in self.calls if c.depth == 0}
        return [*found.values(), *self.called]

    def _contained(self, hook: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(hook)
        def safe(*args: Any) -> None:
            if self._broken or torch.compiler.is_compiling():
                return
            start: float | None = None
            try:
                if self._guard():
                    start = time.perf_counter()
                    hook(*args)
            except Exception as error:  # torch may be iterating over its hooks: they are removed later, by `stop`
                self._broken = True
                self._failed(error)
            finally:
                if start is not None:
                    self._spent(time.perf_counter() - start)

        return safe

    def _before(self, module: nn.Module, args: Any) -> None:
        if _is_compiled(module):
            self.blind = "the model is compiled by torch.compile, whose module calls cannot be watched"
            self.stop()
            self.called = [module]
            return
        if torch.jit.is_tracing():
            return
        if not self._stack:
            self._entered()
        if len(self.calls) >= _MAX_CALLS:
            if self._stack:
                return
            self.clear()  # a long evaluation: only what follows can belong to the next backward
        has_parameters = any(p.requires_grad for p in module._parameters.values() if p is not None)
        call = Call(module, len(self._stack), torch.is_grad_enabled(), has_parameters, module.training)
        self.calls.append(call)
        self._stack.append(call)

    def _after(self, module: nn.Module, args: Any, *rest: Any) -> None:
        output, kwargs = rest[-1], rest[0] if len(rest) > 1 else {}  # torch leaves kwargs out where forward raised
        while self._stack:
            call = self._stack.pop()
            if call.module is module:
                call.inputs = [glimpse(t) for t in tensors_in((args, kwargs))]
                call.outputs = [glimpse(t) for t in tensors_in(output)]
                return


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def tensors_in(value: Any, limit: int = _MAX_TENSORS) -> list[torch.Tensor]:
    """The tensors inside nested tuples, lists, dicts and dataclass-like outputs (at most `limit`).

    An explicit stack: a recursive inner function would be a reference cycle that keeps the tensors alive.
    """
    found: list[torch.Tensor] = []
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack and len(found) < limit:
        item, depth = stack.pop()
        kind = type(item)
        if issubclass(kind, torch.Tensor):
            found.append(item)
            continue
        children: Iterable[Any] = ()
        if issubclass(kind, dict):
            children = item.values()
        elif issubclass(kind, (list, tuple)):
            children = item
        elif not issubclass(kind, (nn.Module, type)):
            try:
                children = list(object.__getattribute__(item, "__dict__").values())
            except (AttributeError, TypeError):
                continue
        if depth < 4:
            stack.extend((child, depth + 1) for child in reversed(list(children)[: limit * 4]))
    return found


def glimpse(tensor: torch.Tensor) -> Glimpse:
    """Take a Glimpse. Values are read only of tensors that carry no gradient (a cut is looked for there)."""
    needs_grad = tensor.requires_grad
    try:
        # Its address would not do: another tensor gets it as soon as this one is freed.
        storage, offset = StorageWeakRef(tensor.untyped_storage()), int(tensor.storage_offset())
    except (RuntimeError, NotImplementedError):
        storage, offset = None, 0
    return Glimpse(needs_grad, not needs_grad and _whole_numbers(tensor), storage, offset, tensor.grad_fn)


def _whole_numbers(tensor: torch.Tensor) -> bool:
    if tensor.is_complex():
        return False
    if not tensor.is_floating_point():
        return True
    try:
        sample = tensor.detach().reshape(-1)[:4096]
        return bool(((sample == sample.round()).all() & (sample != 0).any()).item())
    except (RuntimeError, NotImplementedError):  # no values to read: vmap, fake or quantised tensors
        return False
