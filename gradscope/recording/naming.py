"""Which name a parameter goes by: that of `named_parameters` of the root module called, never changed once shown."""
from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any, Iterator, Sequence

import torch
from torch import nn

from gradscope.hooks.sites import variables
from gradscope.hooks.wrappers import is_wrapper

_TORCHS_OWN = frozenset(vars(nn.Module()))
_ROOM = 1 << 20  # positions a root: it may grow


@dataclass
class Root:
    """A module that the loop itself calls (or that was handed to `watch`)."""

    module: weakref.ref[nn.Module]
    label: str = ""  # the user's variable name for it, once it is needed
    given: bool = False


@dataclass(frozen=True)
class Named:
    """A parameter's place: its name, its root (position in `Names.roots`), its order there, and how it is held."""

    name: str
    root: int
    order: int
    hidden: bool  # in a plain list, tuple or dict: `named_parameters` does not know it
    evaluating: bool  # hidden, in a module that is in eval mode
    variable: weakref.ref[torch.Tensor]


class Names:
    """Names by identity."""

    def __init__(self) -> None:
        self.roots: list[Root] = []
        self._places: dict[int, Named] = {}
        self._settled = False  # names have been shown: later roots get a prefix, earlier ones keep what they have

    def add_root(self, module: nn.Module, frame: FrameType | None, given: bool = False) -> None:
        """Learn the names inside `module`. A module inside a known root is not a root of its own."""
        for root in self.roots:
            known = root.module()
            if known is module or (known is not None and any(m is module for m in known.modules())):
                return
        if next(module.parameters(), None) is None and not list(hidden_parameters(module)):
            return
        label = variable_name(module, frame).rpartition(".")[2] or type(module).__name__.lower()
        self.roots.append(Root(weakref.ref(module), label, given))
        self._learn(len(self.roots) - 1)

    def refresh(self) -> None:
        """Look again: layers may have been added to, or replaced in, the roots."""
        for index in range(len(self.roots)):
            self._learn(index)

    def place(self, parameter: torch.Tensor) -> Named | None:
        """Where the parameter stands; None where no root holds it."""
        named = self._places.get(id(parameter))
        return named if named is not None and named.variable() is parameter else None

    def position(self, parameter: torch.Tensor) -> int:
        """Sorted by it, parameters are in the order of `named_parameters`, one root after the other; -1: in no root.

        Of a single root, it is the position there.
        """
        named = self.place(parameter)
        return -1 if named is None else named.root * _ROOM + named.order

    def name(self, parameter: torch.Tensor) -> str | None:
        """Its name to show; from now on names stay."""
        if not self._settled:
            self._settled = True
            if len(self.roots) > 1:
                self._places.clear()
                for index in range(len(self.roots)):
                    self._learn(index)
        named = self.place(parameter)
        return None if named is None else named.name

    def parameters_of(self, index: int) -> Sequence[torch.Tensor]:
        """The registered parameters of a root, in its order."""
        module = self.roots[index].module()
        return [] if module is None else list(module.parameters())

    def _learn(self, index: int) -> None:
        root = self.roots[index]
        module = root.module()
        if module is None:
            return
        prefix = f"{root.label}." if root.label and len(self.roots) > 1 and not root.given else ""
        names: dict[int, tuple[list[str], torch.Tensor, bool, bool]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), ([], parameter, False, False))[0].append(name.replace("_orig_mod.", ""))
        for name, parameter, evaluating in hidden_parameters(module):
            if id(parameter) not in names:
                names[id(parameter)] = ([name], parameter, True, evaluating)
        for order, (found, parameter, hidden, evaluating) in enumerate(names.values()):
            if self.place(parameter) is None:
                label = prefix + "=".join(found)
                self._places[id(parameter)] = Named(label, index, order, hidden, evaluating, weakref.ref(parameter))


def hidden_parameters(module: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Parameters that a module keeps in plain lists, tuples or dicts, where torch does not find them.

    With each: its path, and whether the module that holds it is in eval mode.
    """
    for path, part in module.named_modules():
        for attribute, value in list(vars(part).items()):
            if attribute in _TORCHS_OWN:
                continue
            for key, item in _items(value):
                at = f"{path}.{attribute}[{key!r}]" if path else f"{attribute}[{key!r}]"
                if isinstance(item, nn.Module):
                    for name, parameter in item.named_parameters():
                        yield f"{at}.{name}", parameter, not item.training
                elif isinstance(item, nn.Parameter):
                    yield at, item, not part.training


def _items(value: Any) -> list[tuple[Any, Any]]:
    if type(value) in (list, tuple) and len(value) <= 10_000:
        return list(enumerate(value))
    if type(value) is dict and len(value) <= 10_000:
        return list(value.items())
    return []


def variable_name(value: Any, frame: FrameType | None) -> str:
    """What the user calls this object: a variable of the calling frames ("net"), or an attribute there ("self.net").

    "" where nothing of the kind is found within a few frames.
    """
    depth = 0
    while frame is not None and depth < 8:
        for scope in (variables(frame), list(frame.f_globals.items())):
            for name, found in scope:
                if found is value and not name.startswith("_"):
                    return name
            for name, holder in scope:
                attribute = _attribute_of(holder, value)
                if attribute:
                    return name if is_wrapper(holder) else f"{name}.{attribute}"
        frame, depth = frame.f_back, depth + 1
    return ""


def _attribute_of(holder: Any, value: Any) -> str:
    """The attribute (for modules: the path) by which `holder` has `value`; "" where it has not.

    Never `isinstance`: that asks the object for its `__class__`, which may run anybody's code.
    """
    kind = type(holder)
    if issubclass(kind, nn.Module):
        inside = next((name for name, inner in holder.named_modules() if inner is value and name), "")
        if inside or issubclass(type(value), nn.Module):
            return inside
    if issubclass(kind, (type, ModuleType)):
        return ""
    try:
        attributes = object.__getattribute__(holder, "__dict__")
    except (AttributeError, TypeError):
        return ""
    if type(attributes) is not dict or len(attributes) > 200:
        return ""
    return next((str(name) for name, inner in list(attributes.items()) if inner is value), "")
