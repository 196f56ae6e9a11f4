"""APART: code of ours that torch.compile neither traces nor compiles.

Inside of a compiled function every Python frame that runs eagerly (after a graph break) is offered to Dynamo, ours too.
A frame that Dynamo skips runs as it is, and what it calls is offered again: so our hooks' frames are skipped, and
around the listener Dynamo is switched off. Where Dynamo traces the call of a hook of ours it inlines it: there
`torch.compiler.is_compiling()` is true, and the hook passes the call through.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch

_OWN = __name__.rpartition(".")[0] + "."


def switch() -> Callable[[Any], Any]:
    """Torch's own switch of Dynamo for this thread: takes what is to be asked for each frame, gives what was."""
    found = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)
    return getattr(found, "set_eval_frame", None) or (lambda callback: None)


SWITCH = switch()


def never_compiled() -> None:
    """Have Dynamo skip all frames of the hooks. To be called once torch._dynamo is imported."""
    skip = getattr(sys.modules.get("torch._dynamo.eval_frame"), "skip_code", None)
    if skip is None:
        return
    for name, module in list(sys.modules.items()):
        if name.startswith(_OWN):
            for code in _codes(vars(module).values(), name):
                skip(code)


def _codes(values: Any, module: str) -> Iterator[CodeType]:
    for value in list(values):
        if isinstance(value, type):
            if value.__module__ == module:
                yield from _codes(vars(value).values(), module)
            continue
        function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
        if isinstance(function, FunctionType) and function.__module__ == module:
            yield from _nested(function.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def breaks_graphs(hook: Any) -> Any:
    """Mark a hook that Dynamo is to leave the graph for, as it would for a function that torch.compiler.disable made.

    Only for calls at which it leaves the graph anyway.
    """
    hook._torchdynamo_disable = True
    hook._torchdynamo_disable_msg = "watched by gradscope"
    return hook
