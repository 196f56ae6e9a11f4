"""Streams: the optimizers that always step in the same rows."""
from __future__ import annotations


class Partition:
    """Starts with optimizers that first stepped together, splits them when one steps without the other.

    A stream goes by the number of its first optimizer, so a split renames nobody else.
    """

    def __init__(self) -> None:
        self._parts: list[set[int]] = []
        self._known: set[int] = set()

    @property
    def count(self) -> int:
        """How many streams there are."""
        return len(self._parts)

    def row(self, stepped: set[int]) -> None:
        """Take in the optimizers that stepped in one finished row."""
        parts: list[set[int]] = []
        for part in self._parts:
            inside = part & stepped
            if inside and inside != part:
                parts += [inside, part - inside]
            else:
                parts.append(part)
        new = stepped - self._known
        if new:
            parts.append(new)
            self._known |= new
        self._parts = parts

    def preview(self, stepped: set[int]) -> tuple[tuple[int, ...], ...]:
        """The streams as they would be if the row at hand ended now."""
        after = Partition()
        after._parts, after._known = [set(part) for part in self._parts], set(self._known)
        after.row(stepped)
        return after.groups()

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The streams, each as its optimizers' numbers in order."""
        return tuple(sorted(tuple(sorted(part)) for part in self._parts))
