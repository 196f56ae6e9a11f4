"""Gradients clipped to another norm, or where the script does not clip them."""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from gradscope.hooks.patching import Patch
from gradscope.trying.interventions.base import Arguments, Intervention, NumberOf, around_closure


class ClipGradNorm(Intervention):
    """Before each step, `torch.nn.utils.clip_grad_norm_` over all parameters of the optimizer (or of one group).

    With a closure: each time it returns. Gradients that a fused optimizer is still to unscale are clipped at the scale.
    """

    early = True

    def __init__(
        self, number: int | None, number_of: NumberOf, max_norm: float, group: int | None = None
    ) -> None:
        super().__init__(number, number_of)
        self._max_norm, self._group = max_norm, group

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        wrapped = around_closure(args, kwargs, after=lambda: self.attempt(self._clip, optimizer))
        if wrapped is None:
            self._clip(optimizer)
        return wrapped

    def _clip(self, optimizer: Optimizer) -> None:
        if not self.concerns(optimizer):
            return
        groups = [g for i, g in enumerate(optimizer.param_groups) if self._group in (None, i)]
        scale = getattr(optimizer, "grad_scale", None)
        most = self._max_norm * (float(scale) if isinstance(scale, torch.Tensor) and scale.numel() == 1 else 1.0)
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], most)
        self.applied += 1


class ChangeClip(Intervention):
    """Where the script clips norms at `frm`, they are clipped at `to`: each such call, of whatever parameters."""

    def __init__(self, number: int | None, number_of: NumberOf, frm: float, to: float) -> None:
        super().__init__(number, number_of)
        self._from, self._to = frm, to

    def max_norm(self, given: Any) -> Any:
        if not math.isclose(float(given), self._from, rel_tol=1e-6):
            return given
        self.applied += 1
        return self._to


class UnscaleBeforeClip(Intervention):
    """Where norms are clipped, the GradScaler that has scaled the loss unscales the optimizer's gradients first."""

    def __init__(self, number: int | None, number_of: NumberOf, known: Callable[[], Iterable[Optimizer]]) -> None:
        super().__init__(number, number_of)
        self._known = known
        self._scaler: Any = None

    def patches(self) -> list[Patch]:
        return [Patch(torch.amp.GradScaler, "scale", self._scale)]

    def _scale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def scale(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            self._scaler = scaler
            return original(scaler, *args, **kwargs)

        return scale

    def max_norm(self, given: Any) -> Any:
        for optimizer in self._known() if self._scaler is not None else ():
            state = self._scaler._per_optimizer_states[id(optimizer)]
            if self.concerns(optimizer) and state["stage"].name == "READY":  # neither unscaled nor stepped
                self._scaler.unscale_(optimizer)
                self.applied += 1
        return given
