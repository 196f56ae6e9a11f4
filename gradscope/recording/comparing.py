"""Which ranks differ where they must not: checks of two ranks, compared.

That parameters or gradients differ is no fault by itself: ranks may train models of their own, hold different parts of
one, or be averaged now and then. It is one where something shows that they are replicas: DistributedDataParallel holds
the parameters, the loop reduces gradients among all ranks, or most gradients are the same to the bit.
"""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gradscope.recording.peers import SLOTS, Check, Flag, Words

Bools = npt.NDArray[np.bool_]
_ALIKE = 0.5  # of the gradients to compare: they are reduced
_SETTLED = 4  # steps: a rank that counts otherwise has shown itself by then
_IN_OPTIMIZER = np.uint32(1)
_GRADIENTS_ASIDE = Flag.HOOKED | Flag.AVERAGED | Flag.UNEVEN
_STEPS_ASIDE = Flag.LOCAL | _GRADIENTS_ASIDE


@dataclass(frozen=True)
class Own:
    """A check of this rank, with what need not be told: the columns that DDP holds, those that the loop reduced."""

    check: Check
    held: Bools
    reduced: Bools
    row: int = -1  # at hand
    sharing: tuple[int, ...] = ()  # the ranks that hold parts of what is sharded
    sharded: tuple[str, ...] = ()  # its names


@dataclass(frozen=True)
class Difference:
    """At two checks running, some columns (by their number in this rank's check) differed where they must not.

    `how` shows that these are replicas: "ddp", "reduced", "forgotten", "copies", "alone" or "alike". `alike`: of the
    columns compared, so many did not differ. `last_alike`: the row of the last check at which all parameters were the
    same, -1 where they never were.
    """

    what: str  # "parameters", "gradients"
    how: str
    since: int  # row
    step: int  # row
    columns: tuple[int, ...]
    alike: int
    last_alike: int


@dataclass
class _Doubt:
    """What differed at the newest check, and since when."""

    step: int
    since: int  # row


@dataclass
class Comparison:
    """This rank's checks against those of one other."""

    last_alike: int = -1
    shifted: bool = False  # the other one counts its steps otherwise
    equal_first: Words | None = None  # names of the columns whose parameters were the same at the first check
    judged: int = 0  # checks
    alone: Difference | None = None  # of gradients, at the newest check: known when nothing is averaged to the end
    _totals: deque[int] = field(default_factory=lambda: deque(maxlen=SLOTS))  # of the other one's checks
    _doubts: dict[str, _Doubt] = field(default_factory=dict)

    def compare(self, own: Own, other: Check, own_totals: dict[int, int]) -> list[Difference]:
        """Take in the checks of the same step. `own_totals`: by step, of this rank's checks."""
        mine = own.check
        if mine.same_values(other):  # as nearly always: 10,000 ranks are many
            if self.equal_first is None:
                self.equal_first = mine.names
            self._totals.append(own_totals.get(mine.step, 0))
            self.last_alike, self.shifted = own.row, False
            self.judged += 1
            self._doubts.clear()
            return []
        self._totals.append(other.total)
        if mine.pauses != other.pauses or (mine.flags | other.flags) & Flag.NOT_FINITE:
            return []
        names, here, there = np.intersect1d(mine.names, other.names, return_indices=True)
        if 2 * len(names) < max(len(mine.names), len(other.names)) or not len(names):
            return []
        columns = _Columns(own, here, mine, other, there)
        if self.equal_first is None:
            self.equal_first = names[columns.same_parameters]
        if not columns.other_parameters.any():
            if columns.same_parameters.any():
                self.last_alike, self.shifted = own.row, False
        elif self._moved(mine, other, own_totals):
            self.shifted = True
        if self.shifted:
            self._doubts.clear()
            return []
        self.judged += 1
        flags = mine.flags, other.flags
        bad_gradients, why = self._gradients(columns, *flags, np.isin(names, self.equal_first))
        found = [self._confirmed("gradients", bad_gradients, why, own, here, columns.same_gradients)]
        bad_parameters, why = self._parameters(columns, *flags)
        found.append(self._confirmed("parameters", bad_parameters, why, own, here, columns.same_parameters))
        self.alone = None
        if found[0] is not None and found[0].how == "alone":
            self.alone, found[0] = found[0], None
        return [difference for difference in found if difference is not None]

    def _moved(self, mine: Check, other: Check, own_totals: dict[int, int]) -> bool:
        """Whether the other one is some steps ahead, or behind: it has been, or will be, where this one is."""
        elsewhere = [total for step, total in own_totals.items() if step != mine.step]
        return other.total in elsewhere or mine.total in self._totals

    def _gradients(self, columns: _Columns, mine: Flag, other: Flag, alike_first: Bools) -> tuple[Bools, str]:
        """Which gradients differ and must not, and what shows it."""
        differ = columns.other_gradients
        if mine & other & Flag.SYNCED and not (mine | other) & _GRADIENTS_ASIDE:
            if (differ & columns.held).any():
                return differ & columns.held, "ddp"
        if (mine | other) & Flag.REDUCED:
            if (differ & columns.reduced).any():
                return differ & columns.reduced, "reduced"
            if columns.mostly_alike and not (mine | other) & Flag.TALKS:
                return differ & ~columns.reduced & alike_first, "forgotten"
        started_alike = alike_first.all() and columns.other_parameters.any() and not columns.same_gradients.any()
        if mine & other & (Flag.COPIES | Flag.ALONE) and started_alike and not (mine | other) & _GRADIENTS_ASIDE:
            return differ, "copies" if mine & other & Flag.COPIES else "alone"
        return np.zeros(len(differ), np.bool_), ""

    def _parameters(self, columns: _Columns, mine: Flag, other: Flag) -> tuple[Bools, str]:
        """Which parameters differ and must not."""
        differ = columns.other_parameters
        if not (mine | other) & _STEPS_ASIDE and (differ & columns.held).any():
            if self.last_alike >= 0 or columns.mostly_alike:
                return differ & columns.held, "ddp"
        if columns.mostly_alike and not (mine | other) & Flag.AVERAGED:
            return differ & columns.same_gradients, "alike"
        return np.zeros(len(differ), np.bool_), ""

    def _confirmed(
        self, what: str, bad: Bools, how: str, own: Own, here: npt.NDArray[np.int64], same: Bools
    ) -> Difference | None:
        """What differs is told of where it did so at the step before, too."""
        doubt = self._doubts.pop(what, None)
        if not bad.any():
            return None
        step = own.check.step
        since = own.row if doubt is None else doubt.since
        self._doubts[what] = _Doubt(step, since)
        if doubt is None or doubt.step != step - 1 or self.last_alike < 0 and step < _SETTLED:
            return None
        columns = tuple(sorted(here[bad].tolist()))
        return Difference(what, how, since, own.row, columns, int(same.sum()), self.last_alike)


class _Columns:
    """The columns that two checks share # (names,): which are the same, and which are not."""

    def __init__(self, own: Own, here: npt.NDArray[np.int64], a: Check, b: Check, there: npt.NDArray[np.int64]) -> None:
        left, right = a.parameters[here], b.parameters[there]
        known = (left != 0) & (right != 0)
        self.same_parameters, self.other_parameters = known & (left == right), known & (left != right)
        left, right = a.gradients[here], b.gradients[there]
        both = (left & right & _IN_OPTIMIZER) > 0
        known = (left > _IN_OPTIMIZER) & (right > _IN_OPTIMIZER)
        alike = (left | _IN_OPTIMIZER) == (right | _IN_OPTIMIZER)
        self.same_gradients, self.other_gradients = known & alike, known & ~alike & both
        self.held, self.reduced = own.held[here], own.reduced[here]

    @property
    def mostly_alike(self) -> bool:
        """Most gradients are the same: no chance with more than a few of them, and the loop reduces them."""
        alike = int(self.same_gradients.sum())
        return alike > 0 and alike > _ALIKE * (alike + int(self.other_gradients.sum()))
