"""EVALUATION: a model put into eval mode, and torch's loss functions as they are called until it trains again.

`nn.Module.eval` is called on the root alone (`train` on every module), so patching it costs nothing elsewhere. Losses
are seen by replacing functions in torch.nn.functional, which the loss modules call too, for as long as an evaluation
lasts: hooks on modules would cost 1.2 us for every module called in it.
"""
from __future__ import annotations

import functools
import os
import sys
import time
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.nn import functional
from torch.overrides import has_torch_function

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

LOSSES = {
    "cross_entropy": "cross entropy",
    "nll_loss": "cross entropy",
    "mse_loss": "squared error",
    "binary_cross_entropy": "binary cross entropy",
    "binary_cross_entropy_with_logits": "binary cross entropy with logits",
    "smooth_l1_loss": "smooth l1",
    "huber_loss": "huber",
}  # function -> what it computes
NODES = {
    "NllLossBackward": "cross entropy",
    "NllLoss2DBackward": "cross entropy",
    "NllLoss2dBackward": "cross entropy",
    "MseLossBackward": "squared error",
    "BinaryCrossEntropyBackward": "binary cross entropy",
    "BinaryCrossEntropyWithLogitsBackward": "binary cross entropy with logits",
    "SmoothL1LossBackward": "smooth l1",
    "HuberLossBackward": "huber",
}  # node of a graph, without its number -> the same
_FRAMES = 16
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep

Told = Callable[[str, torch.Tensor, int, FrameType], None]


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """`nn.Module.eval`."""
    mine = dispatcher.generation

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any) -> Any:
            result = original(self)
            if dispatcher.listening(mine, aside=True):
                dispatcher.send("evaluating", self)
            return result

        return wrapper

    return [Patch(torch.nn.Module, "eval", make)]


class LossCalls:
    """Torch's loss functions, watched from `start` to `stop`: `told(kind, loss, samples, frame)` of each one: the mean
    where there is one for each sample.

    Exact as ever: what torch itself looks up by name (a tensor subclass's `__torch_function__`, torch.jit.script) finds
    the function as it was.
    """

    def __init__(
        self,
        guard: Callable[[], bool],
        told: Told,
        failed: Callable[[BaseException], None],
        spent: Callable[[float], None],
    ) -> None:
        self._guard, self._told, self._failed, self._spent = guard, told, failed, spent
        self._patches: list[Patch] = []
        self._hidden = False
        self._makers = {name: functools.partial(self._wrap, kind) for name, kind in LOSSES.items()}

    @property
    def on(self) -> bool:
        return bool(self._patches)

    def start(self) -> None:
        if not self._patches:
            self._patches = [Patch(functional, name, make) for name, make in self._makers.items()]

    def stop(self) -> None:
        while self._patches:
            self._patches.pop().undo()
        self._hidden = False

    def curtain(self, hide: bool) -> None:
        """Dynamo would compile these functions, and once more the ones they replace."""
        if hide and self._patches:
            self.stop()
            self._hidden = True
        elif self._hidden and not hide:
            self._hidden = False
            self.start()

    def _wrap(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or torch.jit.is_tracing() or not self._patches:
                return original(*args, **kwargs)
            watched = False
            try:
                watched = self._guard()
            except Exception as error:
                self._failed(error)
            if not watched:
                return original(*args, **kwargs)
            if has_torch_function((*args, *kwargs.values())):
                self.stop()  # the function is about to be handed on, by its name
                return original(*args, **kwargs)
            result = original(*args, **kwargs)
            start = time.perf_counter()
            try:
                if type(result) is torch.Tensor and not result.requires_grad and args:
                    samples = int(args[0].shape[0]) if args[0].dim() else 1
                    if result.numel() == 1:
                        self._told(kind, result, samples, sys._getframe(1))
                    elif result.dim() and len(result) == samples:  # reduction="none"
                        self._told(kind, result.mean(), samples, sys._getframe(1))
            except Exception as error:
                self._failed(error)
            finally:
                self._spent(time.perf_counter() - start)
            return result

        vars(wrapper).update(__script_if_tracing_wrapper=True, __original_fn=original)  # torch.jit.script compiles that
        return wrapper


def way_here(frame: FrameType | None) -> tuple[tuple[CodeType, int], ...]:
    """The lines by which a call was reached, innermost first: of two calls of one function they differ.

    Without torch's own: a module is called by way of other lines where it has hooks.
    """
    lines: list[tuple[CodeType, int]] = []
    while frame is not None and len(lines) < _FRAMES:
        if not frame.f_code.co_filename.startswith(_TORCH):
            lines.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)
