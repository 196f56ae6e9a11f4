"""Running a kept call again, every operation watched: which one makes the first NaN, and in which line."""
from __future__ import annotations

import contextlib
import io
import logging
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradscope.events import Site
from gradscope.hooks import blame
from gradscope.hooks.calls import Calls, Kept
from gradscope.hooks.forward import tensors_in
from gradscope.hooks.operations import as_written, base_name
from gradscope.hooks.sites import SiteFinder
from gradscope.hooks.values import Values, condition

_NO_VALUES = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "resize")
_MADE_ON_PURPOSE = frozenset(
    "full full_like new_full fill scalar_tensor masked_fill where tril triu masked_scatter index_put lift_fresh "
    "constant_pad_nd copy zeros ones detach".split()
)


@dataclass
class Found:
    """An operation whose inputs were finite and whose result was not."""

    operation: str
    what: str
    module: str
    site: Site | None
    node: Any = None  # of the graph, where it is the derivative that did it
    before: torch.Tensor | None = None  # the nearest parameters around that
    after: torch.Tensor | None = None


class Watcher(TorchDispatchMode):  # type: ignore[misc]
    """Sees every operation of torch below autograd, with its inputs and results."""

    def __init__(self, root: nn.Module, stack: list[nn.Module], stop: Any) -> None:
        super().__init__()
        self.nan: Found | None = None
        self.infinite: Found | None = None
        self.masked = True  # the infinities that the first NaN came of were put there on purpose
        self._names = {id(module): name for name, module in root.named_modules()}
        self._root, self._stack, self._stop = root, stack, stop

    @property
    def found(self) -> Found | None:
        """The origin: of the first NaN, or of the infinity that it came of."""
        if self.nan is not None:
            return self.nan if self.masked or self.infinite is None else self.infinite
        return self.infinite

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (*args, *(kwargs or {}).values())
        name = func.overloadpacket.__name__.strip("_")
        before = None
        if self.nan is None and func._schema.is_mutable:
            before = [_look(value) for value in given]
        result = func(*args, **(kwargs or {}))
        if self.nan is None and name not in _NO_VALUES:
            self._judge(name, given, before, result)
        return result

    def _judge(self, name: str, given: Sequence[Any], before: list[Any] | None, result: Any) -> None:
        results = result if isinstance(result, (tuple, list)) else (result,)
        made = [_look(value) for value in results]
        if not any(nan or high or low for nan, high, low in made):
            return
        had = before if before is not None else [look for value in given for look in _all_looks(value)]
        if any(nan for nan, _, _ in had):
            return
        infinite = any(high or low for _, high, low in had)
        if any(nan for nan, _, _ in made):
            self.masked = not infinite or self.infinite is None
            self.nan = self._tell(name, given, results)
        elif not infinite and self.infinite is None and name not in _MADE_ON_PURPOSE:
            self.infinite = self._tell(name, given, results)

    def _tell(self, name: str, given: Sequence[Any], results: Sequence[Any]) -> Found:
        plain = [value for value in given if isinstance(value, (torch.Tensor, int, float))]
        made = next((value for value in results if isinstance(value, torch.Tensor)), None)
        node = torch._C._current_autograd_node()
        along = (int(given[1]),) if "softmax" in name and len(given) > 1 and isinstance(given[1], int) else ()
        with contextlib.suppress(AttributeError):
            plain = plain[1:] + plain[:1] if name == "addmm" else plain
        what = blame.describe(name, plain, made, along)
        if node is None:
            at = self._stack[-1] if self._stack else self._root
            return Found(as_written(name), what, self._name(at), self._line())
        operation = as_written(base_name(node))
        line = blame.users_line(node)
        site = None if line is None else Site(*line)
        return Found(operation, f"the derivative of {operation}, {what}", "", site, node)

    def _name(self, module: nn.Module) -> str:
        return self._names.get(id(module), "") or type(module).__name__

    def _line(self) -> Site | None:
        """The user's line inside of the model; None where all of it is torch's."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_code is not self._stop:
            if SiteFinder.rank(frame.f_code.co_filename) == 2:
                return Site(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
            frame = frame.f_back  # type: ignore[assignment]
        return None


def _look(value: Any) -> tuple[bool, bool, bool]:
    if not isinstance(value, torch.Tensor) or value.numel() == 0 or value.is_meta:
        return False, False, False
    nan, high, low = condition(value.detach())
    return nan is True, high, low


def _all_looks(value: Any) -> list[tuple[bool, bool, bool]]:
    return [_look(one) for one in value] if isinstance(value, (tuple, list)) else [_look(value)]


def run_again(calls: Calls, kept: Kept, backward: bool) -> tuple[Found | None, bool]:
    """Run a kept call once more; the origin, and whether the result (of `backward`: the gradients) is not finite.

    Leaves no trace: random numbers, buffers and the attributes of modules are as before, nothing is printed.
    """
    with _leaving_no_trace(kept), calls.traced() as stack:
        torch.set_rng_state(kept.random[0])
        if kept.random[1]:
            torch.cuda.set_rng_state_all(kept.random[1])
        return _watched(kept, stack, backward)


def _watched(kept: Kept, stack: list[nn.Module], backward: bool) -> tuple[Found | None, bool]:
    watcher = Watcher(kept.module, stack, _watched.__code__)
    anomaly = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    torch.autograd.set_detect_anomaly(backward, check_nan=False)
    try:
        with contextlib.ExitStack() as casts:
            for device, enabled, dtype in kept.autocast:
                if enabled:
                    casts.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
            if backward:
                output = kept.module(*kept.args, **kept.kwargs)
            else:
                with watcher:
                    output = kept.module(*kept.args, **kept.kwargs)
        results = [tensor for tensor in tensors_in(output) if tensor.grad_fn is not None]
        if not backward:
            bad = any(condition(tensor.detach())[0] is not None for tensor in results)
            return (watcher.found if bad else None), bad
        pairs = [(results[i], g) for i, g in kept.gradients.items() if i < len(results) and results[i].shape == g.shape]
        leaves = [p for p in kept.module.parameters() if p.requires_grad]
        with watcher:
            gradients = torch.autograd.grad(
                [tensor for tensor, _ in pairs], leaves, [gradient for _, gradient in pairs], allow_unused=True
            )
        bad = any(g is not None and condition(g)[0] is not None for g in gradients)
        if watcher.found is not None and watcher.found.node is not None:
            node, values = watcher.found.node, Values(results)
            watcher.found.before, watcher.found.after = blame.before(node), blame.after(values, node)
            watcher.found.node = None
        return (watcher.found if bad else None), bad
    finally:
        torch.autograd.set_detect_anomaly(*anomaly)


@contextlib.contextmanager
def _leaving_no_trace(kept: Kept) -> Iterator[None]:
    modules = list(kept.module.modules())
    attributes = [(module, _attributes(module)) for module in modules]
    plain, array = random.getstate(), np.random.get_state()
    log = logging.root.manager.disable
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    copies = {id(buffer): copy.clone() for buffer, copy in kept.buffers}
    silent = io.StringIO()
    try:
        for module in modules:
            for name, buffer in list(module._buffers.items()):
                if id(buffer) in copies:
                    module._buffers[name] = copies[id(buffer)]
        logging.disable(logging.CRITICAL)
        with torch.random.fork_rng(devices), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            yield
    finally:
        logging.disable(log)
        random.setstate(plain)
        np.random.set_state(array)
        for module, (before, containers) in attributes:
            vars(module).clear()
            vars(module).update(before)
            for container, items in containers:
                _refill(container, items)


def _attributes(module: nn.Module) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """What a module holds, and what its plain containers hold."""
    before = dict(vars(module))
    kinds = (list, dict, set, deque)
    return before, [(value, value.copy()) for value in before.values() if isinstance(value, kinds)]


def _refill(container: Any, items: Any) -> None:
    container.clear()
    (container.update if isinstance(container, (dict, set)) else container.extend)(items)
