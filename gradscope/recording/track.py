"""One optimizer, followed: its parameters, the looks taken around each call, its ledger and its part of the record."""
from __future__ import annotations

import itertools
import weakref
from typing import Any, Callable, Sequence

import numpy as np
import torch

from gradscope.record.record import Parameter
from gradscope.record.table import OptimizerTable
from gradscope.recording.finishing import FullRow, PlainRow, PlainRows, StepNotes
from gradscope.recording.ledger import Contribution, Ledger
from gradscope.recording.look import Look, look
from gradscope.recording.naming import Names
from gradscope.recording.stats import UNSCALED, Norms, Readable, Scale


class LossCell:
    """A loss on its way: read out with the norms, then put into its Contribution."""

    __slots__ = ("tensor", "contribution")

    def __init__(self, loss: torch.Tensor, contribution: Contribution) -> None:
        self.tensor: torch.Tensor | None = loss.detach().reshape(1)
        self.contribution = contribution

    def fill(self, values: np.ndarray) -> None:
        self.contribution.loss = float(values[0])
        self.tensor = None


_PLAIN = (["zero_grad", "backward"], ["backward"])  # a row as most are


class Track:
    """Takes looks now, and replays them through the ledger once their numbers have arrived."""

    def __init__(self, optimizer: torch.optim.Optimizer, changed: Callable[[], None] = lambda: None) -> None:
        self.number = -1  # given with the first call that concerns it (`Roster.activate`)
        self.kind = type(optimizer).__name__
        self._changed = changed  # called when the optimizer is gone
        self.optimizer: weakref.ref[torch.optim.Optimizer] = weakref.ref(optimizer, self._died)
        self.parameters: list[torch.Tensor] = []
        self.parameter_ids: frozenset[int] = frozenset()
        self.groups: list[int] = []
        self.variable = ""  # what the loop calls the optimizer
        self.columns: tuple[Parameter, ...] = ()
        self.table: OptimizerTable | None = None
        self.maybe_used = False  # some gradient may have been used by a step and not been cleared since
        self.keeps_gradients = False  # zero_grad has left gradients in place (zeroes, not None)
        self.seen = self.reached = 0  # backwards since the previous step: all, and those that reached a parameter
        self.steps = 0
        self.newest_row = -1
        self.order_known = False  # whether a scheduler steps before its first step need no longer be asked
        self.loss_scale = UNSCALED
        self.scaler: weakref.ref[Any] | None = None  # the GradScaler that steps it
        self.zero_grad_site = self.backward_site = self.step_site = -1
        self.before_backward: Look | None = None
        self.before_zero_grad: Look | None = None
        self.before_step: Look | None = None
        self.began_empty = False  # no gradient was there before the row's first backward
        self.untouched = True  # between the row's backwards no gradient was replaced by hand
        self.made_ids: list[int] = []  # the gradients that the newest backward left
        self.left_zero: Look | None = None  # what a zero_grad since the previous step left in place
        self.by_closure = False
        self.copies: list[torch.Tensor] | None = None
        self._weights: Norms | None = None
        self._shape: tuple[Any, ...] = ()
        self._missing: list[bool] = []
        self._look_again = 0
        self._retired = False
        self._operations: list[tuple[str, tuple[Any, ...]]] = []
        self._row_starts = 0  # in the operations
        self._pending: list[Readable] = []
        self.read_parameters()
        self.ledger = Ledger(len(self.parameters))

    @property
    def alive(self) -> bool:
        return not self._retired and self.optimizer() is not None

    @property
    def settled(self) -> bool:
        """Nothing waits for its replay."""
        return not self._operations

    def retire(self) -> None:
        """The optimizer goes on with other parameters, under another track."""
        self._retired = True
        self._died(None)

    def forget(self) -> None:
        """After a pause: what the user did meanwhile is not known."""
        self.later("forget")
        self.maybe_used = False
        self.before_backward = self.before_step = self.before_zero_grad = None

    def missing_changed(self, before: Look) -> bool:
        """Whether other parameters than before lack a gradient; asked again only after twice as many steps."""
        missing = [i == 0 for i in before.ids]
        if missing == self._missing or self.steps < self._look_again:
            return False
        self._missing, self._look_again = missing, 2 * self.steps + 1
        return True

    def _died(self, _: Any) -> None:
        self.parameters = []
        self.copies = None
        self._changed()

    def unchanged(self) -> bool:
        """Whether `read_parameters` would say "same"."""
        optimizer = self.optimizer()
        if optimizer is None:
            return True
        groups, shape = optimizer.param_groups, self._shape
        if len(groups) == len(shape) == 1 and (held := groups[0]["params"]):
            return bool((id(held), len(held), id(held[0])) == shape[0])
        return self._shape_of(optimizer) == shape

    @staticmethod
    def _shape_of(optimizer: torch.optim.Optimizer) -> tuple[Any, ...]:
        groups = optimizer.param_groups
        return tuple([(id(g["params"]), len(g["params"]), id(g["params"][0]) if g["params"] else 0) for g in groups])

    def read_parameters(self) -> str:
        """Read param_groups again, cheaply where nothing changed: "same", "grown" (new ones at the end), "replaced"."""
        optimizer = self.optimizer()
        if optimizer is None:
            return "same"
        groups, shape = optimizer.param_groups, self._shape_of(optimizer)
        if shape == self._shape:
            return "same"
        parameters = [p for g in groups for p in g["params"]]
        known = self.parameters
        if len(parameters) < len(known) or any(a is not b for a, b in zip(known, parameters)):
            return "replaced"
        self._shape, self.parameters, self.parameter_ids = shape, parameters, frozenset(map(id, parameters))
        self.groups = [i for i, g in enumerate(groups) for _ in g["params"]]
        if known and len(parameters) > len(known):
            self.later("grow", len(parameters))
        return "grown"

    def name_columns(self, names: Names) -> tuple[Parameter, ...]:
        """The parameters by name; names once given stay."""
        for i in range(len(self.columns), len(self.parameters)):
            parameter, group = self.parameters[i], self.groups[i]
            name = names.name(parameter) or f"opt{self.number}.group{group}.{i - self.groups.index(group)}"
            dtype = str(parameter.dtype).removeprefix("torch.")
            place = names.position(parameter)
            self.columns += (Parameter(name, tuple(parameter.shape), group, dtype, place),)
        return self.columns

    # -- taking looks -----------------------------------------------------------------------------------------------

    def look(self, drawn: bool, measure: bool = False) -> Look:
        """Look at the gradients: `drawn` where the picture is kept, `measure` for their norms."""
        taken = look(self.parameters, drawn, measure)
        if taken.norms is not None:
            self._pending.append(taken.norms)
        return taken

    def measure(self, taken: Look, scale: Scale = UNSCALED) -> None:
        """Add norms to a look just taken; `scale` is what GradScaler has multiplied the gradients by."""
        if taken.norms is None and not taken.empty:
            taken.norms = Norms.of([p.grad for p in self.parameters])
            if taken.norms is not None:
                taken.norms.scale = scale
                self._pending.append(taken.norms)

    def plain_step(self, before: Look) -> Contribution | None:
        """The one backward of a row as it should be: no gradient was there, every parameter was reached, and nothing
        has changed since. None for any other row; then its operations stay as they are.
        """
        operations = self._operations[self._row_starts :]
        if [name for name, _ in operations] not in _PLAIN:
            return None
        start, end, contribution = operations[-1][1]
        if not (start.empty and end.full and end.same_as(before)):
            return None
        del self._operations[self._row_starts :]
        assert isinstance(contribution, Contribution)
        return contribution

    def later_plain(self, at_step: Look, contribution: Contribution, notes: StepNotes) -> None:
        """The row at hand was a plain one."""
        row = PlainRow(notes.row, (contribution,), notes.lr, notes.loss_scale, notes.sites)
        newest, arguments = self._operations[-1] if self._operations else ("", ())
        if newest == "plain_rows" and arguments[0].parameters is notes.columns and arguments[0].missing is None:
            arguments[0].rows.append(row)
            self._operations[-1] = newest, (arguments[0], at_step)
        else:
            self.later("plain_rows", PlainRows([row], notes.columns), at_step)

    def later(self, operation: str, *arguments: Any) -> None:
        """Hand an operation to the ledger once the numbers in it have arrived."""
        self._operations.append((operation, arguments))
        if operation in ("step", "plain_rows"):
            self._row_starts = len(self._operations)

    def expect(self, numbers: Sequence[Readable]) -> None:
        """These are on their way too."""
        self._pending.extend(numbers)

    def weigh(self, copy: bool) -> None:
        """Before a step: the weights' norms, and copies of the weights where the update is to be measured."""
        plain = [p.detach() for p in self.parameters]
        self._weights = Norms.of(plain)
        self.copies = [p.clone() for p in plain] if copy else None

    def weighed(self) -> tuple[Norms | None, Norms | None]:
        """After the step: weight norms and update norms."""
        weights, updates = self._weights, None
        if self.copies is not None:
            with torch.no_grad():
                differences = [p.detach() - c for p, c in zip(self.parameters, self.copies)]
            updates = Norms.of(differences)
        self._weights = self.copies = None
        self._pending.extend(n for n in (weights, updates) if n is not None)
        return weights, updates

    def learning_rates(self) -> list[float]:
        """The lr of each group; NaN where it is no number (some optimizers have none)."""
        optimizer = self.optimizer()
        groups = [] if optimizer is None else optimizer.param_groups
        return [rate if type(rate := g.get("lr")) is float else _number(rate) for g in groups]

    # -- replaying --------------------------------------------------------------------------------------------------

    def pending(self) -> list[Readable]:
        """What is to be read out before `replay`."""
        waiting, self._pending = self._pending, []
        return waiting

    def take_operations(self) -> list[tuple[str, tuple[Any, ...]]]:
        """The operations that wait, for `replay` once the numbers in them have arrived."""
        operations, self._operations, self._row_starts = self._operations, [], 0
        return operations

    def replay(self, operations: Sequence[tuple[str, tuple[Any, ...]]]) -> list[FullRow | PlainRows]:
        """Put operations through the ledger; returns the rows that are finished by them."""
        finished: list[FullRow | PlainRows] = []
        for name, arguments in operations:
            if name == "plain_rows":
                rows, at_step = arguments
                self.ledger.plain_rows(at_step)
                finished.append(rows)
            elif name == "step":
                before, after, by_closure, notes = arguments
                finished.append(FullRow(self.ledger.step(before, after, by_closure), notes))
            else:
                getattr(self.ledger, name)(*arguments)
        return finished


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return float("nan")


def holds(subject: Any, track: Track) -> bool:
    """Whether zero_grad of `subject` is meant for this optimizer's parameters (a module: by its first few)."""
    if not isinstance(subject, torch.nn.Module):
        return True
    return any(id(p) in track.parameter_ids for p in itertools.islice(subject.parameters(), 8))
