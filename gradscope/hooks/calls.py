"""The newest calls of the loop's own modules, kept so that they can be run again. Only where a replay is asked for."""
from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gradscope.hooks.forward import tensors_in
from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_MOST = 8  # calls before one backward
_DEVICES = ("cpu", "cuda")


@dataclass
class Kept:
    """One call: references to what it was given and gave, and copies of what would change it if it were run again."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    versions: list[int]  # of the tensors it was given
    random: Any
    buffers: list[tuple[torch.Tensor, torch.Tensor]]  # with a copy from before the call
    autocast: list[tuple[str, bool, Any]]
    outputs: list[torch.Tensor]
    gradients: dict[int, torch.Tensor]  # of the outputs, by position, as backward has brought them

    def unchanged(self) -> bool:
        """Whether its inputs are what they were."""
        return self.versions == _versions(self.args, self.kwargs)


class Calls:
    """Keeps, through one patch of `nn.Module.__call__`, the calls with gradients since the newest backward."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.newest: list[Kept] = []
        self.compiled = False
        self.stack: list[nn.Module] = []  # modules at work, while `tracing`
        self.tracing = False
        self._waiting: list[Kept] = []
        self._dispatcher, self._generation = dispatcher, dispatcher.generation
        self._inside = False
        self._copies: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}
        self._patch = Patch(nn.Module, "__call__", self._make)

    def stop(self) -> None:
        self._patch.undo()
        self.newest, self._waiting, self._copies = [], [], {}

    def take(self) -> None:
        """A backward begins: what was called since the last one is what it goes through."""
        if self._waiting:
            self.newest, self._waiting = self._waiting, []
            for kept in self.newest:
                _watch_gradients(kept)

    def _make(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self.tracing:
                return self._nested(original, module, args, kwargs)
            if self._inside:
                return original(module, *args, **kwargs)
            if torch.compiler.is_compiling() or not torch.is_grad_enabled():
                return original(module, *args, **kwargs)
            if not self._dispatcher.listening(self._generation):
                return original(module, *args, **kwargs)
            self._inside = True
            try:
                kept = self._keep(module, args, kwargs)
                output = original(module, *args, **kwargs)
                if kept is not None:
                    kept.outputs = [tensor for tensor in tensors_in(output) if tensor.grad_fn is not None]
                    self._waiting.append(kept)
                    del self._waiting[:-_MOST]
                return output
            finally:
                self._inside = False

        return __call__

    def _nested(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        self.stack.append(module)
        try:
            return original(module, *args, **kwargs)
        finally:
            self.stack.pop()

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Kept | None:
        start = time.perf_counter()
        try:
            if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
                self.compiled = True
                return None
            if next(module.parameters(), None) is None:
                return None
            buffers = [(buffer, self._copy(buffer)) for buffer in module.buffers()]
            cast = [(name, torch.is_autocast_enabled(name), torch.get_autocast_dtype(name)) for name in _DEVICES]
            return Kept(module, args, kwargs, _versions(args, kwargs), random_states(), buffers, cast, [], {})
        except (RuntimeError, AttributeError, TypeError):
            return None
        finally:
            self._dispatcher.spend(time.perf_counter() - start)

    def _copy(self, buffer: torch.Tensor) -> torch.Tensor:
        """A copy of its values; the one from before where nothing has changed them."""
        known = self._copies.get(id(buffer))
        if known is not None and known[0] is buffer and known[1] == buffer._version:
            return known[2]
        copy = buffer.detach().clone()
        self._copies[id(buffer)] = (buffer, buffer._version, copy)
        return copy

    @contextlib.contextmanager
    def traced(self) -> Iterator[list[nn.Module]]:
        """Calls made here are a replay's: nothing is kept, `stack` tells which modules are at work."""
        self._inside = self.tracing = True
        self.stack.clear()
        try:
            yield self.stack
        finally:
            self._inside = self.tracing = False


def _watch_gradients(kept: Kept) -> None:
    """Note what backward brings to the outputs. Node prehooks change nothing and die with the graph."""
    for position, output in enumerate(kept.outputs):
        node, number = output.grad_fn, output.output_nr
        if node is not None:
            node.register_prehook(functools.partial(_note, kept.gradients, position, number))


def _note(gradients: dict[int, torch.Tensor], position: int, number: int, given: tuple[Any, ...]) -> None:
    gradient = given[number] if number < len(given) else None
    if gradient is not None:
        gradients[position] = gradient


def random_states() -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Of the CPU's generator and, where CUDA is in use, the devices'."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), devices


def _versions(args: Any, kwargs: Any) -> list[int]:
    return [tensor._version for tensor in tensors_in((args, kwargs)) if not tensor.is_inference()]
