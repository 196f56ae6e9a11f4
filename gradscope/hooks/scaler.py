"""GradScaler: what backward sees is the loss times the scale, and a skipped step gives no step event."""
from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.amp.grad_scaler import GradScaler, OptState

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """`scale` (which tensor is which loss, scaled), `step` (whether the optimizer's step ran) and where it is made."""

    mine = dispatcher.generation

    def scale(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, outputs: Any) -> Any:
            scaled = original(self, outputs)
            if self.is_enabled() and dispatcher.listening(mine):
                dispatcher.send("loss_scaled", scaled, outputs)
            return scaled

        return wrapper

    def step(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.is_enabled() or not dispatcher.listening(mine):
                return original(self, optimizer, *args, **kwargs)
            watch: list[_StepWatch] = []
            ran: list[bool] = []
            dispatcher.contain(lambda: watch.append(_StepWatch(optimizer)))
            try:
                return original(self, optimizer, *args, **kwargs)
            finally:
                dispatcher.contain(lambda: ran.append(watch[0].close()))
                if ran:
                    dispatcher.send("scaler_stepped", self, optimizer, ran[0])

        return wrapper

    def init(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if self.is_enabled() and dispatcher.listening(mine):
                dispatcher.send("scaler_created", self)

        return wrapper

    return [Patch(GradScaler, "__init__", init), Patch(GradScaler, "scale", scale), Patch(GradScaler, "step", step)]


def waits_for_unscaling(scaler: GradScaler, optimizer: Any) -> bool:
    """Whether the scaler's next step of this optimizer is to divide the gradients: unscale_ has not been called yet."""
    states: Any = getattr(scaler, "_per_optimizer_states", {})
    state = states.get(id(optimizer))  # not by []: the scaler would keep an entry
    return state is None or state.get("stage", OptState.READY) is OptState.READY


def scale_of(scaler: GradScaler) -> torch.Tensor | None:
    """What it multiplies losses by now # (1,), on its device; None before it has multiplied any."""
    scale = getattr(scaler, "_scale", None)
    return scale.detach().reshape(1).clone() if isinstance(scale, torch.Tensor) else None


class _StepWatch:
    """Whether one optimizer's own step ran while this was open."""

    def __init__(self, optimizer: Any) -> None:
        self.ran = False
        self._handle = None
        if hasattr(optimizer, "register_step_post_hook"):
            self._handle = optimizer.register_step_post_hook(self._mark)

    def _mark(self, *_: Any) -> None:
        self.ran = True

    def close(self) -> bool:
        if self._handle is None:
            return True
        self._handle.remove()
        return self.ran
