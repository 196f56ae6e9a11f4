"""TRAINER: which library's trainer calls, read off the stack, and the user's own lines behind it.

A trainer calls backward and step itself: the innermost line of the user's on the stack is `trainer.fit(...)`, for all
of them. What a finding is about stands elsewhere: in the `training_step`, or where the learning rate is given.
"""
from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
import textwrap
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable

from gradscope.events import Phase, Site
from gradscope.hooks.patching import Patch
from gradscope.hooks.sites import SiteFinder, variables

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

_ENTRIES = {
    "lightning/pytorch/trainer/trainer.py": ("fit", "lightning"),
    "pytorch_lightning/trainer/trainer.py": ("fit", "lightning"),
    "transformers/trainer.py": ("train", "transformers"),
}  # the end of a file's path -> the user's way in, and what we call the library
_SEARCHES = {
    "lightning.pytorch.callbacks.lr_finder": ("LearningRateFinder", "lr_find"),
    "pytorch_lightning.callbacks.lr_finder": ("LearningRateFinder", "lr_find"),
    "lightning.pytorch.callbacks.batch_size_finder": ("BatchSizeFinder", "scale_batch_size"),
    "pytorch_lightning.callbacks.batch_size_finder": ("BatchSizeFinder", "scale_batch_size"),
}  # module -> the method that trains on trial, and puts everything back
_MAX_FRAMES = 120


@dataclass(frozen=True)
class Fitting:
    """A trainer at work. `lines`: what to cite for its calls, instead of `site`, the user's call of the trainer."""

    library: str
    site: Site
    trainer: weakref.ref[Any]
    model: weakref.ref[Any] | None
    lines: Mapping[Phase, Site] = field(default_factory=dict)


def fitting_here(frame: FrameType | None) -> Fitting | None:
    """The trainer that `frame` is called by, the outermost one; None where there is none."""
    if "transformers" not in sys.modules and "lightning" not in sys.modules and "pytorch_lightning" not in sys.modules:
        return None
    found, library = None, ""
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in ("fit", "train"):
            file = frame.f_code.co_filename.replace("\\", "/")
            for end, (name, called) in _ENTRIES.items():
                if name == frame.f_code.co_name and file.endswith(end):
                    found, library = frame, called
        frame = frame.f_back
    return None if found is None else _fitting(found, library)


def loss_shares(fitting: Fitting) -> int:
    """How many backwards a step's loss is spread over, where the trainer has summed it by itself; 0: not known.

    transformers' Trainer hands models that take `num_items_in_batch` the number of items of all backwards of a step:
    each loss is a share of the whole, and nothing in its graph tells how large a one.
    """
    trainer = fitting.trainer()
    if fitting.library != "transformers" or not getattr(trainer, "model_accepts_loss_kwargs", False):
        return 0
    if _own(getattr(type(trainer), "compute_loss", None)):
        return 0
    steps = getattr(trainer, "current_gradient_accumulation_steps", None)
    return steps if isinstance(steps, int) else 0


def late_patches(dispatcher: Dispatcher) -> list[Patch]:
    """Lightning's searches (for a learning rate, a batch size) train on trial: they are not watched."""
    mine = dispatcher.generation

    def apart(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not dispatcher.listening(mine, aside=True):
                return original(*args, **kwargs)
            dispatcher.pause()
            try:
                return original(*args, **kwargs)
            finally:
                dispatcher.resume()
                dispatcher.send("resumed")

        return wrapper

    found = []
    for module, (name, method) in _SEARCHES.items():
        owner = getattr(sys.modules.get(module), name, None)
        if isinstance(owner, type) and method in vars(owner):
            found.append(Patch(owner, method, apart))
    return found


def _fitting(frame: FrameType, library: str) -> Fitting | None:
    values = dict(variables(frame))
    trainer, caller = values.get("self"), frame.f_back
    while caller is not None and SiteFinder.rank(caller.f_code.co_filename) < 2:
        caller = caller.f_back
    if trainer is None or caller is None:
        return None
    site = Site(caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)
    model = values.get("model") if library == "lightning" else getattr(trainer, "model", None)
    lines: dict[Phase, Site | None] = {}
    if library == "lightning":
        lines[Phase.BACKWARD] = _last_return(getattr(type(model), "training_step", None))
        configure = getattr(type(model), "configure_optimizers", None)
        lines[Phase.STEP] = _keyword(configure, "lr") or _last_return(configure)
    else:
        loss = _last_return(getattr(type(trainer), "compute_loss", None))
        lines[Phase.BACKWARD] = loss or _last_return(getattr(type(model), "forward", None))
        lines[Phase.STEP] = _argument(site.file, "learning_rate") if _makes_the_optimizer(trainer) else None
    known = {phase: line for phase, line in lines.items() if line is not None}
    return Fitting(library, site, weakref.ref(trainer), None if model is None else weakref.ref(model), known)


def _makes_the_optimizer(trainer: Any) -> bool:
    """Whether the optimizer has, or will have, the learning rate of the trainer's arguments."""
    optimizer, given = getattr(trainer, "optimizer", None), getattr(trainer.args, "learning_rate", None)
    groups = getattr(optimizer, "param_groups", ())
    return optimizer is None or any(group.get("initial_lr", group.get("lr")) == given for group in groups)


def _argument(file: str, name: str) -> Site | None:
    """The line of a script at which TrainingArguments (or a class called like it) are given this one, once."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None
    lines = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = getattr(call.func, "id", getattr(call.func, "attr", ""))
        if called.endswith(("Arguments", "Config")):
            lines += [keyword.value.lineno for keyword in call.keywords if keyword.arg == name]
    return Site(file, lines[0]) if len(lines) == 1 else None


def _own(function: Any) -> bool:
    """Whether it is the user's own code."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return code is not None and SiteFinder.rank(code.co_filename) == 2


def _tree(function: Any) -> tuple[ast.AST, str, int] | None:
    """The source of a function of the user's own: its tree, file, and the lines before it."""
    if not _own(function):
        return None
    try:
        code = inspect.unwrap(function).__code__
        lines, first = inspect.getsourcelines(code)
        return ast.parse(textwrap.dedent("".join(lines))), code.co_filename, first - 1
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


def _last_return(function: Any) -> Site | None:
    """The line of its last `return` with a value."""
    found = _tree(function)
    if found is None:
        return None
    tree, file, before = found
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    return Site(file, before + max(lines), function.__name__) if lines else None


def _keyword(function: Any, name: str) -> Site | None:
    """The line at which a call inside of it is given this argument, if there is but one."""
    found = _tree(function)
    if found is None:
        return None
    tree, file, before = found
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    lines = [keyword.value.lineno for call in calls for keyword in call.keywords if keyword.arg == name]
    return Site(file, before + lines[0], function.__name__) if len(lines) == 1 else None
