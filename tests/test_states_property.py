"""The recorder against a slow, obvious model of what the gradients are, over random programs of training-loop calls.

The model (`Truth`) is told which call the program makes; it copies every gradient at every moment and writes down what
each one is made of: the numbers of the backwards added since the gradient was last cleared, and which of them a step of
which optimizer has run on. States, norms, losses and wiring follow from that by DESIGN's definitions alone.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gradscope
from gradscope.events import GradState, Point
from gradscope.record.record import OptimizerRecord, Wiring

SHAPES = ((3,), (2, 2), (1,), (4, 1), (2, 3))
OPTIMIZERS: tuple[Callable[..., torch.optim.Optimizer], ...] = (
    lambda p: torch.optim.SGD(p, lr=0.05),
    lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    lambda p: torch.optim.Adam(p, lr=0.01),
)
Operation = tuple[Any, ...]


# -- the reference model -----------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What one step of one optimizer must look like in the record."""

    number: int
    parameters: list[int]
    points: dict[Point, tuple[list[GradState], list[float]]]
    loss: float
    backwards: list[tuple[int, int, float]]
    wiring: Wiring


@dataclass
class Owner:
    """One optimizer's side of the truth."""

    parameters: list[int]
    eaten: dict[int, set[int]] = field(default_factory=dict)  # by parameter: the tokens that its steps ran on
    mixed: set[int] = field(default_factory=set)  # parameters where a backward was added onto something eaten
    points: dict[Point, tuple[list[GradState], list[float]]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    reached: set[int] = field(default_factory=set)  # since its previous step
    made: set[int] = field(default_factory=set)  # since its previous step a backward left something non-zero there
    since: int = 0  # the first backward after its previous step
    counters: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "missing", "reached", "old", "cleared"):
            self.counters[name] = np.zeros(len(self.parameters), np.int64)


class Truth:
    """Follows the parameters' gradients by being told of each call, before and after it is made."""

    def __init__(self, parameters: list[torch.nn.Parameter], owners: list[list[int]]) -> None:
        self.parameters = parameters
        self.owners = [Owner(list(mine)) for mine in owners]
        self.inside: list[list[int]] = [[] for _ in parameters]  # tokens: what the gradient is made of
        self.losses: dict[int, tuple[int, float]] = {}  # by token of a backward: its call site and its loss
        self.alive: list[set[int]] = [set() for _ in parameters]  # backwards of which the gradient is the result
        self.token = 0
        self.row, self.stepped = 0, set[int]()
        self.order: list[int] = []  # the optimizers by number: in the order in which a call first concerned them

    # What the program does by hand, or inside a call.

    def cleared(self, index: int) -> None:
        """The gradient is None, or has been made zero."""
        self.inside[index] = []
        self.alive[index] = set()
        for owner in self.owners:
            owner.mixed.discard(index)

    def replaced(self, index: int) -> None:
        """Another tensor has been put there."""
        self.cleared(index)
        self.token += 1
        self.inside[index] = [self.token]

    def norm(self, index: int) -> float:
        grad = self.parameters[index].grad
        return float("nan") if grad is None else float(grad.detach().clone().double().norm())

    def state(self, owner: Owner, index: int) -> GradState:
        norm = self.norm(index)
        if norm != norm:
            return GradState.NONE
        if norm == 0:
            return GradState.ZERO
        if index in owner.mixed or owner.eaten.get(index, set()) & set(self.inside[index]):
            return GradState.STALE
        backwards = [token for token in self.inside[index] if token in self.losses]
        return GradState.ACCUMULATED if len(backwards) > 1 else GradState.FRESH

    def see(self, which: int) -> None:
        if which not in self.order:
            self.order.append(which)

    def picture(self, owner: Owner, point: Point) -> None:
        states = [self.state(owner, i) for i in owner.parameters]
        owner.points[point] = (states, [self.norm(i) for i in owner.parameters])

    # The calls.

    def add(self, which: int, index: int) -> None:
        """add_param_group: what the row at hand has shown so far, it has not shown of the new parameter."""
        owner = self.owners[which]
        owner.parameters.append(index)
        owner.points = {point: ([*s, GradState.NOT_SEEN], [*n, np.nan]) for point, (s, n) in owner.points.items()}
        owner.counters = {name: np.append(counts, 0) for name, counts in owner.counters.items()}

    def zero_grad(self, concerned: list[Owner], indices: list[int], call: Callable[[], None]) -> None:
        for owner in concerned:
            self.picture(owner, Point.BEFORE_ZERO_GRAD)
        call()
        for index in indices:
            self.cleared(index)
        for owner in concerned:
            self.picture(owner, Point.AFTER_ZERO_GRAD)

    def backward(self, indices: list[int], site: int, loss: float, call: Callable[[], None]) -> None:
        if self.stepped:
            self.row, self.stepped = self.row + 1, set()
        zero_before = [self.norm(index) == 0 for index in indices]
        call()
        self.token += 1
        self.losses[self.token] = (site, loss)
        for index, nothing_there in zip(indices, zero_before):
            if nothing_there:  # zero is as good as none
                self.inside[index] = []
            for owner in self.owners:
                if nothing_there:
                    owner.mixed.discard(index)
                elif owner.eaten.get(index, set()) & set(self.inside[index]):
                    owner.mixed.add(index)
                if index in owner.parameters:
                    owner.reached.add(index)
                if index in owner.parameters and self.norm(index) > 0:
                    owner.made.add(index)
            self.inside[index].append(self.token)
            self.alive[index].add(self.token)
        for which, owner in enumerate(self.owners):
            if set(owner.parameters) & set(indices):
                self.see(which)
                self.picture(owner, Point.AFTER_BACKWARD)

    def step(self, which: int, call: Callable[[], None]) -> None:
        owner = self.owners[which]
        if which in self.stepped and not any(token > owner.since for token in self.losses):
            self.row, self.stepped = self.row + 1, set()
        self.see(which)
        self.picture(owner, Point.BEFORE_STEP)
        states = self._states(owner)
        missing = states == GradState.NONE
        old = np.array([i in owner.mixed for i in owner.parameters]) & ~missing
        reached = np.array([i in owner.reached for i in owner.parameters])
        gone = missing | (states == GradState.ZERO)
        cleared = np.array([i in owner.made for i in owner.parameters]) & gone
        call()
        for index in owner.parameters:
            owner.eaten[index] = set(self.inside[index]) | owner.eaten.get(index, set())
        self.picture(owner, Point.AFTER_STEP)
        used = sorted({t for i in owner.parameters for t in self.alive[i] if t > owner.since})
        backwards = [(token, *self.losses[token]) for token in used]
        wiring = (
            Wiring.ALL_MISSING * bool(missing.all())
            | Wiring.SOME_MISSING * bool(missing.any() and not missing.all())
            | Wiring.OLD_INSIDE * bool(old.any())
            | Wiring.CLEARED * bool(cleared.any() and gone.all())
            | Wiring.NO_BACKWARD * (not any(token > owner.since for token in self.losses))
            | Wiring.UNREACHED * (any(token > owner.since for token in self.losses) and not reached.any())
            | Wiring.NO_LOSS * (not backwards)
        )
        loss = loss_of(backwards)
        owner.rows.append(Row(self.row, list(owner.parameters), owner.points, loss, backwards, Wiring(wiring)))
        hits = {"steps": True, "missing": missing, "reached": reached, "old": old, "cleared": cleared}
        for name, hit in hits.items():
            owner.counters[name] += hit
        owner.points, owner.reached, owner.made, owner.since = {}, set(), set(), self.token
        self.stepped.add(which)

    def _states(self, owner: Owner) -> np.ndarray:
        return np.array([self.state(owner, i) for i in owner.parameters])


def loss_of(backwards: list[tuple[int, int, float]]) -> float:
    """Per call site the mean, then the sum over the sites."""
    sites = {site for _, site, _ in backwards}
    means = [np.mean([loss for _, at, loss in backwards if at == site]) for site in sites]
    return float(sum(means)) if means else float("nan")


# -- random programs ---------------------------------------------------------------------------------------------------


class Program:
    """Runs operations on a tiny model and tells the truth about each."""

    def __init__(self, owners: list[list[int]], kinds: list[int], all_measured: bool) -> None:
        torch.manual_seed(0)
        self.all_measured = all_measured
        self.model = torch.nn.Module()
        for i, shape in enumerate(SHAPES):
            self.model.register_parameter(f"p{i}", torch.nn.Parameter(torch.randn(shape)))
        self.parameters = list(self.model.parameters())
        self.optimizers = [OPTIMIZERS[k]([self.parameters[i] for i in mine]) for k, mine in zip(kinds, owners)]
        self.truth = Truth(self.parameters, owners)
        # Gradients replaced by hand, by parameter: kept until a backward shows each owner that they are gone. An
        # address that is used again before anybody could look is beyond what a recorder can know.
        self.kept: list[tuple[int, Any]] = []

    def run(self, operation: Operation, scope: gradscope.Scope) -> None:
        name, *arguments = operation
        if name == "peek":
            assert scope.record.meta.rows <= self.truth.row + 1
        else:
            getattr(self, name)(*arguments)

    def zero_grad(self, who: int, to_none: bool) -> None:
        truth = self.truth
        if who < 0:
            call, concerned, indices = self.model.zero_grad, truth.owners, list(range(len(self.parameters)))
        else:
            who %= len(self.optimizers)
            indices = truth.owners[who].parameters
            concerned = [o for o in truth.owners if set(o.parameters) & set(indices)]
            call = self.optimizers[who].zero_grad
        truth.zero_grad(concerned, indices, lambda: call(set_to_none=to_none))

    def none_by_hand(self, chosen: set[int]) -> None:
        for i in self._present(chosen):
            self.kept.append((i, self.parameters[i].grad))
            self.parameters[i].grad = None
            self.truth.cleared(i)

    def zero_by_hand(self, chosen: set[int]) -> None:
        """Unseen by version counters: between backward and step only a row's own norms tell of it."""
        for i in self._present(chosen):
            mixed = any(i in owner.mixed for owner in self.truth.owners)
            if self.truth.norm(i) > 0 and (self.all_measured or not mixed):
                self.parameters[i].grad.data.zero_()
                self.truth.cleared(i)

    def assign(self, chosen: set[int], scale: float) -> None:
        for i in self._some(chosen):
            self.kept.append((i, self.parameters[i].grad))
            self.parameters[i].grad = torch.randn(SHAPES[i]) * scale
            self.truth.replaced(i)

    def backward(self, chosen: set[int], scale: float, mode: str, site: int) -> None:
        indices = self._some(chosen)
        loss = sum((self.parameters[i] * torch.randn(SHAPES[i]) + 0.1 * self.parameters[i] ** 2).sum() for i in indices)
        loss = loss * scale
        blind = {i for o in self.truth.owners if not set(o.parameters) & set(indices) for i in o.parameters}
        self.kept = [(i, grad) for i, grad in self.kept if i in blind]
        for again in (True, False) if mode == "twice" else (False,):
            self.truth.backward(indices, site, loss.item(), lambda: backward(loss, site, again, mode == "create_graph"))

    def clip_norm(self, who: int, limit: float) -> None:
        torch.nn.utils.clip_grad_norm_(self._owned(who), limit)

    def clip_value(self, who: int, limit: float) -> None:
        if any(p.grad is not None for p in self._owned(who)):  # torch raises where there is nothing to clip
            torch.nn.utils.clip_grad_value_(self._owned(who), limit)

    def clamp_data(self, chosen: set[int], limit: float) -> None:
        """Unseen by version counters: of a used gradient it cannot be told from a replacement, so that is left out."""
        for i in self._present(chosen):
            if not any(owner.eaten.get(i, set()) & set(self.truth.inside[i]) for owner in self.truth.owners):
                self.parameters[i].grad.data.clamp_(-limit, limit)

    def multiply(self, chosen: set[int], factor: float) -> None:
        for i in self._present(chosen):
            with torch.no_grad():
                self.parameters[i].grad.mul_(factor)

    def step(self, who: int) -> None:
        who %= len(self.optimizers)
        self.truth.step(who, self.optimizers[who].step)

    def add_group(self, who: int, index: int) -> None:
        who %= len(self.optimizers)
        if index not in self.truth.owners[who].parameters and self.parameters[index].grad is None:
            self.optimizers[who].add_param_group({"params": [self.parameters[index]]})
            self.truth.add(who, index)

    def _owned(self, who: int) -> list[torch.nn.Parameter]:
        return [self.parameters[i] for i in self.truth.owners[who % len(self.optimizers)].parameters]

    def _some(self, chosen: set[int]) -> list[int]:
        return sorted(chosen)

    def _present(self, chosen: set[int]) -> list[int]:
        return [i for i in self._some(chosen) if self.parameters[i].grad is not None]


def backward(loss: torch.Tensor, site: int, again: bool, create_graph: bool) -> None:
    """Three call sites."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")
        if site == 0:
            loss.backward(retain_graph=again or create_graph, create_graph=create_graph)
        elif site == 1:
            loss.backward(retain_graph=again or create_graph, create_graph=create_graph)
        else:
            torch.autograd.backward([loss], retain_graph=again or create_graph, create_graph=create_graph)


ALL = {0, 1, 2, 3, 4}
BACKWARD = ("backward", ALL, 1.0, "plain", 0)
DEAD_BACKWARD = ("backward", ALL, 0.0, "plain", 1)
REPLACED = ("none_by_hand", ALL), ("assign", {0, 1, 2}, 1.0)
APART = ("backward", {0}, 1.0, "plain", 0), ("backward", {1}, 1.0, "plain", 0)
DOUBLE_BACKWARD = ("backward", ALL, 1.0, "create_graph", 2)

indices = st.sets(st.integers(0, 4), min_size=1)
who = st.integers(0, 1)
backwards = st.tuples(
    st.just("backward"),
    st.one_of(indices, st.just(ALL)),
    st.sampled_from([1.0, 1.0, 1.0, 3.0, 0.0]),
    st.sampled_from(["plain", "plain", "plain", "twice", "create_graph"]),
    st.integers(0, 2),
)
steps = st.tuples(st.just("step"), who)
clears = st.one_of(
    st.tuples(st.just("zero_grad"), st.integers(-1, 1), st.booleans()),
    st.tuples(st.just("none_by_hand"), st.one_of(indices, st.just(ALL))),
    st.tuples(st.just("zero_by_hand"), st.one_of(indices, st.just(ALL))),
)
edits = st.one_of(
    st.tuples(st.just("assign"), indices, st.sampled_from([1.0, 0.1, 0.0])),
    st.tuples(st.just("clip_norm"), who, st.sampled_from([0.1, 1.0, 100.0])),
    st.tuples(st.just("clip_value"), who, st.sampled_from([0.1, 10.0])),
    st.tuples(st.just("clamp_data"), indices, st.sampled_from([0.1, 10.0])),
    st.tuples(st.just("multiply"), indices, st.sampled_from([0.5, 2.0])),
    st.tuples(st.just("add_group"), who, st.integers(0, 4)),
)
kinds = st.integers(0, len(OPTIMIZERS) - 1)
operations = st.one_of(backwards, steps, clears, edits, st.just(("peek",)))
bodies = st.lists(operations, min_size=1, max_size=9)
owners = st.one_of(
    st.sampled_from([[[0, 1, 2]], [[0, 1, 2, 3]], [[0, 1], [2, 3, 4]], [[0], [1, 2]]]),
    st.sampled_from([[[0, 1, 2], [2, 3]], [[0, 1], [0, 1, 2]], [[2, 0], [0, 1, 3]], [[0, 1, 2], [0, 1, 2]]]),
)


# -- the comparison ----------------------------------------------------------------------------------------------------


SEEN_ALWAYS = (
    Wiring.ALL_MISSING | Wiring.SOME_MISSING | Wiring.OLD_INSIDE | Wiring.NO_BACKWARD | Wiring.UNREACHED
)  # what needs no norms


def counts(truth: Owner, name: str) -> list[int]:
    """A counter of the parameters that were there at the last step."""
    return truth.counters[name][: len(truth.rows[-1].parameters)].tolist()


def compare_calls(truth: Owner, got: OptimizerRecord) -> None:
    """What is known of each step of one optimizer, measured or not."""
    assert [row.number for row in truth.rows] == got.rows.tolist()
    wiring = [Wiring(bits) & SEEN_ALWAYS for bits in got.wiring.tolist()]
    assert [row.wiring & SEEN_ALWAYS for row in truth.rows] == wiring
    for name in ("steps", "missing", "reached", "old"):
        assert counts(truth, name) == got.counters[name].tolist(), name
    old = [row.number for row in truth.rows if row.wiring & Wiring.OLD_INSIDE]
    first, last = got.counters["old_first"], got.counters["old_last"]
    assert old[:1] == sorted(first[first >= 0].tolist())[:1]
    assert old[-1:] == sorted(last[last >= 0].tolist())[-1:]


def compare_numbers(truth: Owner, got: OptimizerRecord) -> None:
    """The states, norms and losses of one optimizer, all of whose rows were measured."""
    assert [row.number for row in truth.rows] == got.measured.tolist()
    for at, row in enumerate(truth.rows):
        for point in Point:
            states = got.grad_state(point)[at].tolist()
            norms = got.grad_norm(point)[at]
            unseen = [GradState.NOT_SEEN] * len(states), [float("nan")] * len(states)
            expected_states, expected_norms = row.points.get(point, unseen)
            added = len(states) - len(expected_states)
            expected_states = [*expected_states, *[GradState.NOT_SEEN] * added]
            expected_norms = [*expected_norms, *[float("nan")] * added]
            where = f"row {row.number}, {point.name}"
            assert [s.name for s in expected_states] == [GradState(s).name for s in states], where
            if point is Point.AFTER_ZERO_GRAD:  # what zero_grad passed by need not be measured there again
                expected_norms = np.where(np.isnan(norms) & (np.array(expected_norms) > 0), np.nan, expected_norms)
            np.testing.assert_allclose(norms, expected_norms, rtol=1e-5, err_msg=where)
    np.testing.assert_allclose(got.scalars["loss"], [row.loss for row in truth.rows], rtol=1e-5)
    assert [row.wiring | Wiring.STATISTICS for row in truth.rows] == [Wiring(bits) for bits in got.wiring.tolist()]
    assert counts(truth, "cleared") == got.counters["cleared"].tolist()


def joint_losses(truth: Truth) -> dict[int, float]:
    """By row: the loss over all backwards that some step of the row used."""
    rows: dict[int, set[tuple[int, int, float]]] = {}
    for owner in truth.owners:
        for row in owner.rows:
            rows.setdefault(row.number, set()).update(row.backwards)
    return {number: loss_of(sorted(backwards)) for number, backwards in rows.items()}


def check(setting: list[list[int]], kinds: list[int], body: list[Operation], repeat: int, every: int = 1) -> None:
    """Run a program while it is watched, then compare."""
    program = Program(setting, kinds, every == 1)
    with gradscope.watch(program.model, program.optimizers, every=every) as scope:
        for operation in body * repeat:
            program.run(operation, scope)
        record = scope.record
    seen = [program.truth.owners[which] for which in program.truth.order]
    stepped = [owner for owner in seen if owner.rows]
    assert len(stepped) == len(record.optimizers)
    joint = joint_losses(program.truth)
    for owner, got in zip(stepped, record.optimizers):
        assert [f"p{i}" for i in owner.rows[-1].parameters] == [p.name for p in got.parameters]
        compare_calls(owner, got)
        if every > 1:
            continue
        compare_numbers(owner, got)
        np.testing.assert_allclose(got.scalars["joint_loss"], [joint[row.number] for row in owner.rows], rtol=1e-5)


@settings(max_examples=150, deadline=None)
@given(owners, st.tuples(kinds, kinds), bodies, st.integers(1, 4))
@example([[0, 1, 2]], (0, 0), [BACKWARD, ("step", 0)], 3)
@example([[0, 1, 2]], (0, 0), [DEAD_BACKWARD, ("clip_norm", 0, 1.0), ("step", 0), ("zero_grad", 0, True)], 3)
@example([[0, 1, 2]], (0, 0), [BACKWARD, ("zero_by_hand", ALL), BACKWARD, ("step", 0), ("zero_grad", -1, False)], 3)
@example([[0, 1, 2]], (0, 0), [DOUBLE_BACKWARD, DOUBLE_BACKWARD, ("step", 0)], 4)
@example([[0, 1, 2]], (0, 0), [("backward", {0}, 1.0, "plain", 0), BACKWARD, ("none_by_hand", {0}), ("step", 0)], 2)
@example([[0], [1, 2]], (0, 0), [*APART, ("step", 0), ("peek",), ("step", 1)], 2)
@example([[0, 1, 2]], (0, 0), [("zero_grad", 0, True), ("add_group", 0, 3), BACKWARD, ("step", 0)], 2)
@example([[0, 1, 2]], (0, 0), [BACKWARD, ("step", 0), *REPLACED, ("add_group", 0, 4), BACKWARD, ("step", 0)], 1)
@example([[0, 1], [2, 3, 4]], (0, 0), [("step", 0), ("add_group", 0, 3), ("zero_grad", 1, False), ("step", 0)], 1)
def test_states_norms_losses_and_wiring_are_those_of_the_truth(
    setting: list[list[int]], kind: tuple[int, int], body: list[Operation], repeat: int
) -> None:
    """Whatever a loop does, in whatever order, the record says what each gradient was at each point of each row."""
    check(setting, list(kind), body, repeat)


@settings(max_examples=60, deadline=None)
@given(owners, st.tuples(kinds, kinds), bodies, st.integers(1, 4), st.sampled_from([2, 3, 7]))
@example([[0, 1, 2]], (0, 0), [BACKWARD, ("step", 0), BACKWARD, ("zero_grad", 0, False), ("step", 0)], 1, 7)
@example([[0, 1, 2]], (0, 0), [BACKWARD, ("step", 0), ("zero_grad", 0, True), BACKWARD, ("step", 0)], 3, 2)
def test_calls_are_seen_in_rows_that_are_not_measured(
    setting: list[list[int]], kind: tuple[int, int], body: list[Operation], repeat: int, every: int
) -> None:
    """Which rows there are, what was missing, reached or old in them, is known without the norms of every row."""
    check(setting, list(kind), body, repeat, every)
