"""Losses that are divided before backward, because several of them make one step."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

_DIVISION, _PRODUCT = "DivBackward0", "MulBackward0"
_IN_A_ROW = 4  # divisions
_LARGEST = 1 << 20


@dataclass(slots=True)
class Division:
    """Losses of one course that are divided `by` a whole number. `sure`: so many of them have made a step."""

    by: int
    sure: bool = False

    def factor(self, losses: int) -> int:
        """What the losses of a step are to be multiplied by, if so many have made it."""
        self.sure = self.sure or losses == self.by
        return self.by if self.sure else 1


class Divisions:
    """The divisions seen, by course and number: what one step proves holds for its course (an epoch's last step is
    made of fewer losses, divided all the same)."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Division] = {}

    def of(self, course: int, by: int, sure: bool = False) -> Division | None:
        """The division of a loss; None where there is none."""
        if by < 2:
            return None
        division = self._known.get((course, by))
        if division is None:
            division = self._known[course, by] = Division(by)
        division.sure = division.sure or sure
        return division


def divided(node: Any) -> tuple[Any, int]:
    """The operation that has made a loss, whatever numbers scaled it afterwards, and the whole number that these divide
    it by (1: by none).

    `node` is the loss's own: `loss / 4`, or `loss * 0.25`. Trainers divide by 1, too, and one after the other.
    """
    whole = 1
    for _ in range(_IN_A_ROW):
        by = _number(node)
        if not by:
            break
        node, whole = node.next_functions[0][0], whole * by
    return node, whole


def _number(node: Any) -> int:
    """The whole number that an operation divides by, 1 for any other number; 0: it does something else."""
    name = node.name()
    if name != _DIVISION and name != _PRODUCT or node.next_functions[0][0] is None:
        return 0
    other = getattr(node, "_saved_other", None)
    if not isinstance(other, torch.Tensor) or other.dim() or other.device.type != "cpu" or other.requires_grad:
        return 0
    if other.dtype not in (torch.float64, torch.int64):  # as torch keeps Python's numbers
        return 0
    value = other.tolist()  # item() fails on such a number under any TorchDispatchMode of the user's
    by = value if name == _DIVISION else 1 / value if value else 0.0
    whole = round(by) if 1 <= by < _LARGEST else 0
    return whole if whole and abs(by - whole) < 1e-6 * whole else 1
