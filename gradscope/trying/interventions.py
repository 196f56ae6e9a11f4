"""An advice applied to a running loop from outside, without a change to the script.

Optimizers go by the record's numbers (the order of their first sight in the loop), which a second run of the same
script gives again. What the script itself reads between its calls stays its own: a learning rate is another one inside
of the optimizer's step only.
"""
from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

from gradscope.events import Site
from gradscope.hooks.optimizer import closure_of, with_closure

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Intervention:
    """One change of one optimizer (None: of all). `applied` counts how often it took place.

    Nothing in here may raise into the loop: a `failure` ends it, and is told with the verdict. `early`: it comes before
    the recorder's own hooks, so that the record, too, holds what the step will use.
    """

    early: ClassVar[bool] = False

    def __init__(self, number: int | None, number_of: Callable[[Optimizer], int]) -> None:
        self.applied, self.failure = 0, ""
        self._number, self._number_of = number, number_of

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """What the step is to be called with instead (None: as it was called)."""
        return None

    def after_step(self, optimizer: Optimizer) -> None: ...

    def before_backward(self, site: Site) -> None: ...

    def max_norm(self, given: Any) -> Any:
        """What clip_grad_norm_ is to clip at, where the script says `given`."""
        return given

    def attempt(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of the above, unless it has failed before, or torch.compile is tracing."""
        if self.failure or torch.compiler.is_compiling():
            return None
        try:
            return call(*arguments)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"

    def _concerns(self, optimizer: Optimizer) -> bool:
        number = self._number_of(optimizer)
        return number >= 0 if self._number is None else number == self._number


class SetLr(Intervention):
    """Each step uses the learning rate times `to / frm`: a whole schedule is scaled, so that its peak comes to `to`.

    Schedulers read and write `group["lr"]` between steps, where it is what they made it. Without `frm` the step uses
    `to` itself. `group`: an index (None: all groups). Learning rates in tensors stay tensors.
    """

    def __init__(
        self,
        number: int | None,
        number_of: Callable[[Optimizer], int],
        to: float,
        frm: float | None = None,
        group: int | None = None,
    ) -> None:
        super().__init__(number, number_of)
        self._to, self._from, self._group = to, frm, group
        self._held: dict[int, list[tuple[dict[str, Any], Any, Any]]] = {}  # by id: group, its own lr, the step's

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if self._concerns(optimizer):
            self.after_step(optimizer)  # a step that raised has left its own behind
            held = self._held[id(optimizer)] = []
            for index, group in enumerate(optimizer.param_groups):
                if self._group in (None, index) and group.get("lr") is not None:
                    own, other = group["lr"], self._instead(group["lr"])
                    group["lr"] = other
                    held.append((group, own, other))
                    self.applied += 1
        return None

    def after_step(self, optimizer: Optimizer) -> None:
        for group, own, other in self._held.pop(id(optimizer), ()):
            if group.get("lr") is other:
                group["lr"] = own
            elif self._from and isinstance(group.get("lr"), float):  # the step has changed it
                group["lr"] *= self._from / self._to

    def _instead(self, lr: Any) -> Any:
        if not self._from:
            return torch.full_like(lr, self._to) if isinstance(lr, torch.Tensor) else self._to
        if isinstance(lr, torch.Tensor):
            with torch.no_grad():
                return lr * (self._to / self._from)
        return self._to if lr == self._from else lr * (self._to / self._from)


class ClipGradNorm(Intervention):
    """Before each step, `torch.nn.utils.clip_grad_norm_` over all parameters of the optimizer (or of one group).

    With a closure: each time it returns. Gradients that a fused optimizer is still to unscale are clipped at the scale.
    """

    early = True

    def __init__(
        self, number: int | None, number_of: Callable[[Optimizer], int], max_norm: float, group: int | None = None
    ) -> None:
        super().__init__(number, number_of)
        self._max_norm, self._group = max_norm, group

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        wrapped = _around_closure(args, kwargs, after=lambda: self.attempt(self._clip, optimizer))
        if wrapped is None:
            self._clip(optimizer)
        return wrapped

    def _clip(self, optimizer: Optimizer) -> None:
        if not self._concerns(optimizer):
            return
        groups = [g for i, g in enumerate(optimizer.param_groups) if self._group in (None, i)]
        scale = getattr(optimizer, "grad_scale", None)
        most = self._max_norm * (float(scale) if isinstance(scale, torch.Tensor) and scale.numel() == 1 else 1.0)
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], most)
        self.applied += 1


class ChangeClip(Intervention):
    """Where the script clips norms at `frm`, they are clipped at `to`: each such call, of whatever parameters."""

    def __init__(self, number: int | None, number_of: Callable[[Optimizer], int], frm: float, to: float) -> None:
        super().__init__(number, number_of)
        self._from, self._to = frm, to

    def max_norm(self, given: Any) -> Any:
        if not math.isclose(float(given), self._from, rel_tol=1e-6):
            return given
        self.applied += 1
        return self._to


class InsertZeroGrad(Intervention):
    """Clears the optimizer's gradients before the first backward after its step.

    And before the first one after another optimizer's step, where that comes from another line: what a generator's loss
    has left in a discriminator is not what the discriminator is to step with. With a closure: before its backward.
    """

    def __init__(self, number: int | None, number_of: Callable[[Optimizer], int]) -> None:
        super().__init__(number, number_of)
        self._cleared: weakref.WeakKeyDictionary[Optimizer, Site | None] = weakref.WeakKeyDictionary()
        self._stepped = False  # some optimizer, since the last backward

    def before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        return _around_closure(args, kwargs, before=lambda: self.attempt(self.after_step, optimizer))

    def after_step(self, optimizer: Optimizer) -> None:
        self._stepped = True
        if self._concerns(optimizer):
            self._cleared[optimizer] = None

    def before_backward(self, site: Site) -> None:
        for optimizer, cleared in list(self._cleared.items()):
            if cleared is None or (self._stepped and site != cleared):
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.grad = None
                self._cleared[optimizer] = site
                self.applied += 1
        self._stepped = False


def make(steps: Sequence[Mapping[str, Any]], number_of: Callable[[Optimizer], int]) -> list[Intervention]:
    """The interventions of a treatment (see `Treatment.steps`)."""
    made: list[Intervention] = []
    for step in steps:
        number, group, action = step.get("optimizer"), step.get("group"), step["action"]
        if action == "set-lr":
            made.append(SetLr(number, number_of, float(step["to"]), _number(step.get("from")), group))
        elif action == "clip-grad-norm" and _number(step.get("from")) is not None:
            made.append(ChangeClip(number, number_of, float(step["from"]), float(step["max_norm"])))
        elif action == "clip-grad-norm":
            made.append(ClipGradNorm(number, number_of, float(step["max_norm"]), group))
        elif action == "insert-zero-grad":
            made.append(InsertZeroGrad(number, number_of))
        else:
            raise ValueError(f"unknown action {action!r}")
    return made


def _around_closure(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    before: Callable[[], Any] = lambda: None,
    after: Callable[[], Any] = lambda: None,
) -> Arguments | None:
    """The step's arguments with something done around its closure; None where it has no closure."""
    closure = closure_of(args, kwargs)
    if closure is None:
        return None

    @functools.wraps(closure)
    def wrapped(*a: Any, **k: Any) -> Any:
        before()
        result = closure(*a, **k)
        after()
        return result

    return with_closure(args, kwargs, wrapped)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
