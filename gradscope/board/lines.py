"""The lines of a heatmap: parameters in the order of the model's tree, and modules as ranges of that order."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterator, Sequence

import numpy as np

from gradscope.errors import UsageError
from gradscope.record.record import Array, OptimizerRecord, Parameter

MOST_LINES = 1 << 16


@dataclass(frozen=True)
class Place:
    """A parameter: which of the stream's optimizers has it, and as which column."""

    optimizer: int
    column: int


@dataclass
class _Node:
    """A module: its own parameters, then its children as the model has them."""

    own: list[int] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)

    def walk(self) -> Iterator[int]:
        waiting = [self]
        while waiting:  # names come from files: nesting may be deeper than Python's stack
            node = waiting.pop()
            yield from node.own
            waiting.extend(reversed(node.children.values()))


def tree_order(optimizers: Sequence[OptimizerRecord]) -> list[Place]:
    """All parameters, those of each module side by side, modules and parameters in the order of the model."""
    places = [Place(i, column) for i, o in enumerate(optimizers) for column in range(len(o.parameters))]
    unknown = 1 << 62

    def position(place: Place) -> int:
        at = _parameter(optimizers, place).place
        return at if at >= 0 else unknown

    places.sort(key=position)
    root = _Node()
    for number, place in enumerate(places):
        node = root
        for part in _parameter(optimizers, place).name.split("=")[0].split("."):
            node = node.children.setdefault(part, _Node())
        node.own.append(number)
    return [places[number] for number in root.walk()]


def _parameter(optimizers: Sequence[OptimizerRecord], place: Place) -> Parameter:
    return optimizers[place.optimizer].parameters[place.column]


@dataclass(frozen=True)
class Lines:
    """Ranges of the tree order: line i is the parameters from `starts[i]` to before `stops[i]`."""

    starts: Array  # (lines,)
    stops: Array  # (lines,)

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def each(cls, parameters: int) -> Lines:
        """Each parameter a line of its own."""
        return cls(np.arange(parameters), np.arange(1, parameters + 1))

    @classmethod
    def parse(cls, text: str, parameters: int) -> Lines:
        """Lines as they are asked for: "7", "3-9" (together), "4*20" (one each); nothing: each parameter.

        UsageError where a part is none of these, or names a parameter that is not there.
        """
        if not text:
            return cls.each(parameters)
        ranges: list[tuple[int, int]] = []
        for part in text.split(","):
            first, sign, second = part.partition("-") if "-" in part else part.partition("*")
            if not (_whole(first) and (_whole(second) if sign else True)):
                raise UsageError(f"a line is 7, 3-9 or 4*20, not {part[:40]!r}")
            start = int(first)
            stop = start + 1 if not sign else int(second) + 1 if sign == "-" else start + int(second)
            if not start < stop <= parameters:
                raise UsageError(f"there are no parameters {part}: the stream has {parameters}, numbered from 0")
            ranges += [(start, stop)] if sign != "*" else [(i, i + 1) for i in range(start, stop)]
            if len(ranges) > MOST_LINES:
                raise UsageError(f"more than {MOST_LINES} lines are asked for")
        starts, stops = np.array(ranges, np.int64).T
        return cls(starts, stops)


def _whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9
