"""GradScaler: what backward sees is the loss times the scale, and a skipped step gives no step event."""
from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable

from torch.amp.grad_scaler import GradScaler

from gradscope.hooks.patching import Patch

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """`scale` (which tensor is which loss, scaled) and `step` (whether the optimizer's step ran)."""

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
            watch = _StepWatch(optimizer)
            try:
                return original(self, optimizer, *args, **kwargs)
            finally:
                dispatcher.send("scaler_stepped", self, optimizer, watch.close())

        return wrapper

    return [Patch(GradScaler, "scale", scale), Patch(GradScaler, "step", step)]


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
