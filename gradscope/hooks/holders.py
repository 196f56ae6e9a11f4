"""Which variable of the loop keeps graphs of the past alive."""
from __future__ import annotations

import inspect
from collections import deque
from dataclasses import dataclass, replace
from types import FrameType, ModuleType
from typing import Any, Callable, Iterator

import torch

from gradscope.events import Site
from gradscope.hooks.growth import Growth, find_growth, pattern_of
from gradscope.hooks.sites import users_frames, variables

_MAX_ITEMS = 100_000
_MAX_NAMES = 400
_MAX_VALUES = 20_000
_DEPTH = 3  # of attributes and keys: self.meters["loss"].sum


@dataclass(frozen=True)
class Held:
    """Tensors with a graph behind them that a variable holds: one, or those of a list, dict or deque."""

    path: str  # as the user writes it, seen from `frame`
    tensors: tuple[torch.Tensor, ...]
    listed: bool
    frame: FrameType
    owner: type | None  # the class of the object whose attribute it is
    attribute: str  # seen from inside that class

    def part(self, subscript: str) -> Held:
        return replace(self, path=self.path + subscript, attribute=self.attribute and self.attribute + subscript)


@dataclass(frozen=True)
class Holder:
    """What holds them, for people: the variable, the line that makes it grow, and that line made harmless."""

    variable: str
    site: Site | None
    healed: str


def find_holder(frame: FrameType | None, keeps: Callable[[Held], bool]) -> Holder | None:
    """The first variable for which `keeps` says yes: of the user's frame, its callers, and their modules."""
    for held in held_by_frames(frame):
        if keeps(held):
            return _describe(held)
    return None


def held_by_frames(frame: FrameType | None) -> Iterator[Held]:
    """All that the variables of the user's frames, and the attributes of their objects, hold."""
    seen: set[int] = set()
    for user in users_frames(frame):
        walk = _Walk(user)
        yield from walk.names(variables(user))
        if id(user.f_globals) not in seen and user.f_code.co_name != "<module>":
            yield from walk.names(list(user.f_globals.items()))
        seen.add(id(user.f_globals))


class _Walk:
    """Through variables, attributes, lists and dicts: `_DEPTH` deep, and over no more than `_MAX_VALUES`."""

    def __init__(self, frame: FrameType) -> None:
        self.frame, self.left = frame, _MAX_VALUES

    def names(self, names: list[tuple[str, Any]]) -> Iterator[Held]:
        for name, value in names:
            if not name.startswith("__"):
                yield from self.value(Held(name, (), False, self.frame, None, ""), value, _DEPTH)

    def value(self, at: Held, value: Any, depth: int) -> Iterator[Held]:
        kind = type(value)
        self.left -= 1
        if issubclass(kind, torch.Tensor):
            if value.grad_fn is not None:
                yield replace(at, tensors=(value,))
        elif self.left > 0 and issubclass(kind, (list, tuple, deque, dict)) and len(value) <= _MAX_ITEMS:
            if issubclass(kind, deque) and value.maxlen is not None:
                return
            items = list(value.values() if issubclass(kind, dict) else value)
            short = ((item if type(item) in (tuple, list) and len(item) < 10 else (item,)) for item in items)
            inside = [part for parts in short for part in parts]
            tensors = tuple(t for t in inside if issubclass(type(t), torch.Tensor) and t.grad_fn is not None)
            if tensors:
                yield replace(at, tensors=tensors, listed=True)
            if issubclass(kind, dict) and depth and len(value) <= _MAX_NAMES:
                for key, item in list(value.items()):
                    if type(key) in (str, int):
                        yield from self.value(at.part(f"[{key!r}]"), item, depth - 1)
        elif self.left > 0 and depth and not issubclass(kind, (type, ModuleType, str, int, float)):
            yield from self._attributes(at, value, depth)

    def _attributes(self, at: Held, value: Any, depth: int) -> Iterator[Held]:
        try:
            inside = object.__getattribute__(value, "__dict__")
        except (AttributeError, TypeError):
            return
        if type(inside) is not dict or len(inside) > _MAX_NAMES:
            return
        buffers = inside.get("_buffers") if issubclass(type(value), torch.nn.Module) else None
        for name, item in [*inside.items(), *(buffers or {}).items()]:
            if str(name).isidentifier() and item is not buffers:
                part = replace(at, path=f"{at.path}.{name}", owner=type(value), attribute=f"self.{name}")
                yield from self.value(part, item, depth - 1)


def _describe(held: Held) -> Holder:
    """The line is looked for where the variable stands, then in the class whose attribute it is."""
    code = held.frame.f_code
    growth = find_growth(code.co_filename, held.frame.f_lineno, pattern_of(held.path))
    file, function = code.co_filename, code.co_name
    if growth is None and held.owner is not None:
        for method in _methods(held.owner):
            file, function = method.co_filename, method.co_name
            growth = find_growth(file, method.co_firstlineno, pattern_of(held.attribute))
            if growth is not None:
                break
    site = None if growth is None else Site(file, growth.line, function)
    return Holder(held.path, site, _cure(growth, held))


def _cure(growth: Growth | None, held: Held) -> str:
    if growth is None or not growth.healed:
        return ""
    number = all(t.numel() == 1 for t in held.tensors[-3:])
    return growth.healed.replace("{cut}", "item" if number else "detach")


def _methods(owner: type) -> list[Any]:
    """The code of the methods that are the class's own, in the order in which they stand."""
    members = [m.__func__ if isinstance(m, (classmethod, staticmethod)) else m for m in vars(owner).values()]
    return [member.__code__ for member in members if inspect.isfunction(member)]
