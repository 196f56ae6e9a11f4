"""STEP by the global optimizer hooks; ZERO_GRAD, which has no hook, by two class patches; births by a third."""
from __future__ import annotations

import functools
import gc
import itertools
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from gradscope.events import Phase
from gradscope.hooks.apart import breaks_graphs
from gradscope.hooks.patching import Patch
from gradscope.hooks.wrappers import is_wrapper

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def step_hooks(dispatcher: Dispatcher) -> list[RemovableHandle]:
    """The global step hooks: they see every optimizer, and `optimizer.step` itself stays as it is.

    With a closure (LBFGS, Lightning) the pre hook runs before backward; the closure is handed on wrapped, so that the
    gradients the step will use are seen when it returns.
    """

    mine = dispatcher.generation

    def before(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not dispatcher.listening(mine, trains=True):
            return None
        handed_on: list[Arguments] = []
        if len(args) != 1 or kwargs:
            dispatcher.contain(lambda: handed_on.extend(_with_observed(dispatcher, optimizer, args, kwargs)))
        dispatcher.begin(Phase.STEP, optimizer, not handed_on)
        return handed_on[0] if handed_on else None

    def after(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if dispatcher.listening(mine, trains=True):
            dispatcher.send("stepped", optimizer)

    # Torch leaves the graph in every step of an optimizer, right after these hooks.
    hooks = breaks_graphs(before), breaks_graphs(after)
    return [register_optimizer_step_pre_hook(hooks[0]), register_optimizer_step_post_hook(hooks[1])]


def closure_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    """The closure that a step was called with (its optimizer is the first of `args`)."""
    closure = kwargs.get("closure") if "closure" in kwargs else (args[1] if len(args) > 1 else None)
    return closure if callable(closure) else None


def _with_observed(
    dispatcher: Dispatcher, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Arguments]:
    """The arguments of a step with an observed closure in them; nothing where there is none."""
    closure = closure_of(args, kwargs)
    if closure is None:
        return []

    @functools.wraps(closure)
    def observed(*a: Any, **k: Any) -> Any:
        result = closure(*a, **k)
        if dispatcher.listening(dispatcher.generation, trains=True):
            dispatcher.send("closure_returned", optimizer)
        return result

    return [with_closure(args, kwargs, observed)]


def with_closure(args: tuple[Any, ...], kwargs: dict[str, Any], closure: Callable[..., Any]) -> Arguments:
    """The arguments of a step, with this closure instead of its own."""
    if "closure" in kwargs:
        return args, {**kwargs, "closure": closure}
    return (args[0], closure, *args[2:]), kwargs


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """`zero_grad` of optimizers and modules, and the birth of optimizers."""

    mine = dispatcher.generation

    def zero_grad(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not dispatcher.listening(mine):
                return original(self, *args, **kwargs)
            event = dispatcher.begin(Phase.ZERO_GRAD, self, not args and not kwargs)
            try:
                return original(self, *args, **kwargs)
            finally:
                dispatcher.end(event)

        return wrapper

    def init(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if dispatcher.listening(mine):
                dispatcher.send("optimizer_created", self)
                dispatcher.patch_late()  # torch itself imports what compiles with the first optimizer

        return wrapper

    return [
        Patch(Optimizer, "zero_grad", lambda original: breaks_graphs(zero_grad(original))),  # as torch's own does
        Patch(torch.nn.Module, "zero_grad", zero_grad),
        Patch(Optimizer, "__init__", init),
    ]


def living_optimizers() -> list[Optimizer]:
    """Optimizers made before anyone watched, oldest first as far as the garbage collector tells.

    Types are compared, never `isinstance`: that would run foreign code. Trainers' wrappers around one are none.
    """
    classes: set[type] = set()
    queue: list[type] = [Optimizer]
    while queue:
        found = queue.pop()
        if found not in classes:
            classes.add(found)
            queue.extend(found.__subclasses__())
    objects = itertools.chain.from_iterable(gc.get_objects(generation) for generation in (2, 1, 0))
    return [o for o in objects if type(o) in classes and not is_wrapper(o) and hasattr(o, "param_groups")]
