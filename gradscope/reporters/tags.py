"""Which curves there are in TensorBoard, and what they are called: each optimizer's tags, bounded, never renamed."""
from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Mapping, Sequence

import numpy as np

from gradscope.plain import printable
from gradscope.record.table import OptimizerTable

CURVES, MODULES, PARAMETERS = "gradscope", "gradscope modules", "gradscope parameters"  # TensorBoard's sections
METRICS = "gradscope metrics"
MAX_OPTIMIZERS, MAX_GROUPS, MAX_MODULES, MAX_PARAMETERS = 16, 16, 32, 200  # in all; groups: of each optimizer


@dataclass
class Tags:
    """One optimizer's. `module_of` # (params so far,): the module's index in `modules`, -1 for none.

    `parameters`: column and tag of those that are shown.
    """

    label: str  # "" where it is the only optimizer
    lr: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    module_of: list[int] = field(default_factory=list)
    parameters: list[tuple[int, str]] = field(default_factory=list)
    module_numbers: dict[str, int] = field(default_factory=dict)
    left_out: int = 0  # parameters without a curve of their own

    def named(self, curve: str) -> str:
        """The tag of one of the optimizer's own curves."""
        return f"{CURVES}/{curve}/{self.label}" if self.label else f"{CURVES}/{curve}"


class TagBook:
    """Hands out tags. Optimizers that are new together share what room is left."""

    def __init__(self) -> None:
        self._tags: dict[int, Tags] = {}
        self._losses: dict[int, str] = {}  # by stream
        self._used: set[str] = set()

    def update(self, tables: Sequence[OptimizerTable], optimizers: int) -> None:
        """Take in new optimizers, and what was added to known ones. `optimizers`: how many there will be, at least."""
        changed = [t for t in tables if self._size(t.number) != (len(t.parameters), min(t.groups, MAX_GROUPS))]
        several = max(len(tables), optimizers) > 1 or bool(self._tags)
        for position, table in enumerate(changed):
            if table.number not in self._tags:
                self._tags[table.number] = Tags(self._label(table) if several else "")
            self._extend(self._tags[table.number], table, len(changed) - position)

    def of(self, number: int) -> Tags:
        """An optimizer's tags."""
        return self._tags[number]

    def loss(self, stream: int, alone: bool) -> str:
        """The tag of a stream's loss; `alone`: there is no other stream."""
        if stream not in self._losses:
            tags = Tags("") if alone and not self._losses else self._tags[stream]
            self._losses[stream] = tags.named("loss")
        return self._losses[stream]

    @property
    def left_out(self) -> int:
        """How many parameters have no curve of their own."""
        return sum(tags.left_out for tags in self._tags.values())

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _size(self, number: int) -> tuple[int, int] | None:
        tags = self._tags.get(number)
        return None if tags is None else (len(tags.module_of), len(tags.lr))

    def _label(self, table: OptimizerTable) -> str:
        taken = {tags.label for tags in self._tags.values()}
        return table.variable if table.variable not in taken else f"{table.variable}_{table.number}"

    def _extend(self, tags: Tags, table: OptimizerTable, sharers: int) -> None:
        if not tags.lr and table.groups == 1:
            tags.lr = [tags.named("lr")]
        tags.lr += [f"{tags.named('lr')}/group {g}" for g in range(len(tags.lr), min(table.groups, MAX_GROUPS))]
        first = len(tags.module_of)
        names = [printable(p.name.split("=")[0]) for p in table.parameters[first:]]
        shown = sum(len(other.parameters) for other in self._tags.values())
        chosen = spread(len(names), (MAX_PARAMETERS - shown) // sharers)
        tags.parameters += [(first + i, self._unused(f"{PARAMETERS}/{names[i]}", tags)) for i in chosen]
        tags.left_out += len(names) - len(chosen)
        shown = sum(len(other.modules) for other in self._tags.values())
        modules = modules_of(names, (MAX_MODULES - shown) // sharers, tags.module_numbers)
        for module in modules:
            if module is not None and module not in tags.module_numbers:
                tags.module_numbers[module] = len(tags.modules)
                tags.modules.append(self._unused(f"{MODULES}/{module}", tags))
        tags.module_of += [-1 if module is None else tags.module_numbers[module] for module in modules]

    def _unused(self, tag: str, tags: Tags) -> str:
        """Two optimizers may own parameters of the same name (nets made anew): each gets a curve of its own."""
        if tag in self._used and tags.label:
            tag = f"{tag}/{tags.label}"
        unused, number = tag, 1
        while unused in self._used:
            unused, number = f"{tag} ({number + 1})", number + 1
        self._used.add(unused)
        return unused


def spread(count: int, room: int) -> list[int]:
    """Positions of at most `room` of `count`, evenly spread, the first and the last among them."""
    if count <= room:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, max(0, room)).round().astype(int).tolist()))


def modules_of(names: Sequence[str], room: int, known: Mapping[str, int] = MappingProxyType({})) -> list[str | None]:
    """The module that each parameter's norm is added to, at the greatest depth with at most `room` modules.

    Where there are more even at the top, some get None. A parameter of the root module stands for itself; one module
    alone would be the whole net again: None.
    """
    paths = [name.split(".")[:-1] or [name] for name in names]
    deepest = max(map(len, paths), default=1)
    for depth in range(deepest, 0, -1):
        modules = [".".join(path[:depth]) for path in paths]
        different = list(dict.fromkeys(modules))
        if len([m for m in different if m not in known]) <= room:
            break
    if len(different) <= 1 and not known:
        return [None] * len(names)
    new = [m for m in different if m not in known]
    kept = {new[i] for i in spread(len(new), room)} | set(known)
    return [module if module in kept else None for module in modules]
