"""Gradient clipping as it is seen: by every name of torch's functions, without a change to what they do."""

from __future__ import annotations

import gc
import math
import warnings
import weakref
from typing import Any, Callable, Iterable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_ as bound_before
from torch.nn.utils import clip_grad_value_

import gradscope
from gradscope.facts.gradients import Clipping
from gradscope.hooks.clipping import BY_NORM, BY_VALUE, cell_of
from gradscope.probes import clipping as probe
from gradscope.record.record import Record

X = torch.linspace(-1, 1, 32).reshape(8, 4)


class Loop:
    """One letter a call: z(ero_grad), Z (to zeroes), b(ackward), c(lip), s(tep)."""

    def __init__(self, clip: Callable[["Loop"], Any], limit: float = 0.1) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.clip, self.limit = clip, limit

    def run(self, order: str, rows: int = 12) -> list[torch.Tensor]:
        for _ in range(rows):
            for letter in order:
                if letter in "zZ":
                    self.optimizer.zero_grad(set_to_none=letter == "z")
                elif letter == "b":
                    (self.model(X) - 3).square().mean().backward()
                elif letter == "c":
                    self.clip(self)
                else:
                    self.optimizer.step()
        return [p.detach().clone() for p in self.model.parameters()]


def by_norm(loop: Loop) -> Any:
    return bound_before(loop.model.parameters(), loop.limit)


def watched(loop: Loop, order: str, rows: int = 12) -> tuple[Record, list[torch.Tensor]]:
    with gradscope.watch(loop.model, loop.optimizer) as scope:
        weights = loop.run(order, rows)
    return scope.record, weights


def facts(record: Record) -> list[Clipping]:
    return [entry.newest for entry in record.facts.of(Clipping)]  # type: ignore[misc]


def deprecated(loop: Loop) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.clip_grad_norm(loop.model.parameters(), loop.limit)


NAMES: dict[str, Callable[[Loop], Any]] = {
    "bound before": by_norm,
    "attribute": lambda loop: torch.nn.utils.clip_grad_norm_(loop.model.parameters(), max_norm=loop.limit),
    "module": lambda loop: torch.nn.utils.clip_grad.clip_grad_norm_(
        parameters=list(loop.model.parameters()), max_norm=loop.limit, norm_type=2
    ),
    "filter": lambda loop: bound_before(filter(lambda p: p.requires_grad, loop.model.parameters()), loop.limit, 2.0),
    "deprecated": deprecated,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_seen_by_whatever_name(name: str) -> None:
    """Names bound before the watch, too; and the training is the same to the bit."""
    expected = Loop(NAMES[name]).run("zbcs")
    record, weights = watched(Loop(NAMES[name]), "zbcs")
    assert all(torch.equal(a, b) for a, b in zip(expected, weights))
    (fact,) = facts(record)
    assert ("norm", 0.1, 2.0, 4, 4, 4) == (
        fact.kind, fact.limit, fact.norm_type, fact.parameters, fact.covered, fact.of
    )  # fmt: skip
    assert (12, 12, 0, 12, 12) == (fact.calls, fact.acted, fact.idle, fact.seen, fact.cut)
    assert fact.median > 0.1 and fact.low <= fact.median <= fact.high
    assert fact.site.file == __file__


def test_what_was_bound_is_as_it_was_afterwards() -> None:
    """The function proper is back in its cell, the very object; while it is watched, the names stay what they are."""
    before = [cell_of(name).cell_contents for name in (BY_NORM, BY_VALUE)]
    loop = Loop(by_norm)
    with gradscope.watch(loop.model, loop.optimizer):
        assert bound_before is torch.nn.utils.clip_grad_norm_
        assert cell_of(BY_NORM).cell_contents is not before[0]
        loop.run("zbcs", 2)
    assert before[0] is cell_of(BY_NORM).cell_contents and before[1] is cell_of(BY_VALUE).cell_contents


def test_a_patch_of_somebody_else_is_left_in_place() -> None:
    """Ours, below it, passes everything on."""
    cell = cell_of(BY_NORM)
    original, calls = cell.cell_contents, []
    loop = Loop(by_norm)
    with gradscope.watch(loop.model, loop.optimizer):
        ours = cell.cell_contents

        def theirs(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return ours(*args, **kwargs)

        theirs.__name__ = BY_NORM
        cell.cell_contents = theirs
        loop.run("zbcs", 2)
    assert cell.cell_contents is theirs
    loop.run("zbcs", 2)
    assert 4 == len(calls)
    cell.cell_contents = original


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("zbcs", {"acted": 11, "idle": 0, "empty": 0, "spent": 0}),
        ("zcbs", {"acted": 0, "idle": 11, "empty": 11, "spent": 0}),
        ("Zcbs", {"acted": 0, "idle": 11, "empty": 11, "spent": 0}),
        ("zbsc", {"acted": 0, "idle": 11, "empty": 0, "spent": 12}),
        ("zbbcs", {"acted": 11, "idle": 0, "empty": 0, "spent": 0}),
        ("zbcbcs", {"acted": 11, "idle": 0, "empty": 0, "spent": 0}),
        ("zbcbs", {"acted": 0, "idle": 11, "empty": 0, "spent": 0}),
    ],
)
def test_where_it_stands_is_told(order: str, expected: dict[str, int]) -> None:
    """Between backward and step it acts; before backward there is nothing, after step it has been used."""
    (fact,) = facts(watched(Loop(by_norm), order)[0])
    for name, value in expected.items():
        assert getattr(fact, name) >= value if value else getattr(fact, name) == 0, name


def test_in_the_steady_state_some_calls_are_looked_at() -> None:
    """After the first 64 rows one in seven; the quantiles and counts go on, the training is the same."""
    expected = Loop(by_norm).run("zbcs", 400)
    record, weights = watched(Loop(by_norm), "zbcs", 400)
    assert all(torch.equal(a, b) for a, b in zip(expected, weights))
    (fact,) = facts(record)
    assert 64 + 336 // 7 - 1 <= fact.calls <= 64 + 336 // 7 + 1
    assert 0 == fact.idle and fact.acted > 8
    (late,) = facts(watched(Loop(by_norm), "zcbs", 400)[0])
    assert 0 == late.acted and late.empty == late.calls


def test_norms_of_an_accelerator_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are fetched with the other numbers of the row."""
    monkeypatch.setattr(probe, "on_host", lambda tensor: False)
    record, _ = watched(Loop(by_norm), "zbcs", 90)
    (fact,) = facts(record)
    assert 64 <= fact.seen == fact.cut <= fact.calls
    assert fact.median > 0.1


def test_by_value() -> None:
    """Without a total norm; of the whole model, or of one tensor."""
    record, _ = watched(Loop(lambda loop: clip_grad_value_(loop.model[0].weight, 0.01)), "zbcs")
    (fact,) = facts(record)
    assert ("value", 0.01, 1, 1, 4, 0) == (fact.kind, fact.limit, fact.parameters, fact.covered, fact.of, fact.seen)
    assert math.inf == fact.norm_type and 12 == fact.acted


def test_one_call_for_each_parameter() -> None:
    """A loop over the parameters covers all of them together."""

    def each(loop: Loop) -> None:
        for parameter in loop.model.parameters():
            bound_before(parameter, loop.limit)

    (fact,) = facts(watched(Loop(each), "zbcs")[0])
    assert (48, 4, 4) == (fact.calls, fact.covered, fact.of)


def test_a_generator_that_is_used_up() -> None:
    """The optimizer has read it to its end: the clip is given nothing, and torch's own warning stays at its line."""
    holds: list[Any] = []

    def used(loop: Loop) -> None:
        holds[:] = holds or [loop.model.parameters()]
        list(holds[0])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bound_before(holds[0], loop.limit)  # this line
        assert all(w.filename == __file__ for w in caught)
        plain.append(len(caught))

    plain: list[int] = []
    (fact,) = facts(watched(Loop(used), "zbcs")[0])
    assert (-1, 12, 12, 0) == (fact.optimizer, fact.none, fact.used_up, fact.acted)
    seen = list(plain)
    Loop(used).run("zbcs")
    assert seen == plain[len(seen) :], "as many warnings with and without"


def test_an_empty_generator_that_is_made_anew_is_not_used_up() -> None:
    """Nothing to clip, as it may be: that is not a mistake about iterators."""

    def fresh(loop: Loop) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bound_before((p for p in loop.model.parameters() if p.dim() > 7), loop.limit)

    (fact,) = facts(watched(Loop(fresh), "zbcs")[0])
    assert (12, 0) == (fact.none, fact.used_up)


def test_another_models_parameters() -> None:
    """The line is told apart from those that act; of a frozen one, too (a teacher, in the place of its student)."""
    other = nn.Linear(4, 1)
    for _ in range(2):
        (fact,) = facts(watched(Loop(lambda loop: bound_before(other.parameters(), 1.0)), "zbcs")[0])
        assert (-1, 0, 0) == (fact.optimizer, fact.covered, fact.acted)
        assert fact.calls == fact.empty == 12 and fact.ahead == 0
        other.requires_grad_(False)


def test_a_frozen_part_of_the_model_is_nobodys_matter() -> None:
    """The same line clips it once it is unfrozen."""
    model = nn.Sequential(nn.Linear(4, 3).requires_grad_(False), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.01)
    with gradscope.watch(model, optimizer) as scope:
        for _ in range(12):
            optimizer.zero_grad()
            model(X).square().mean().backward()
            bound_before(model[0].parameters(), 1e-3)
            optimizer.step()
    assert [] == facts(scope.record)


def test_the_discriminator_is_clipped_where_the_generator_steps() -> None:
    """Its gradients, made by the generator's loss, are thrown away; the step that comes next is the generator's."""
    torch.manual_seed(0)
    maker, judge = nn.Linear(4, 4), nn.Linear(4, 1)
    makes, judges = (torch.optim.SGD(m.parameters(), lr=0.01) for m in (maker, judge))
    with gradscope.watch() as scope:
        for _ in range(12):
            judges.zero_grad()
            (judge(X) - judge(maker(X).detach())).square().mean().backward()
            judges.step()
            makes.zero_grad()
            judge(maker(X)).square().mean().backward()
            bound_before(judge.parameters(), 1e-3)
            makes.step()
    numbers = {o.variable: o.number for o in scope.record.optimizers}
    (fact,) = facts(scope.record)
    assert (0, numbers["makes"]) == (fact.acted, fact.ahead)
    assert fact.times >= 11 and fact.optimizer == numbers["judges"]


def test_another_optimizers_backward_in_between_does_no_harm() -> None:
    """Actor: backward, clip; critic: backward, clip; then both step. Each clip is that of what its step uses."""
    torch.manual_seed(0)
    actor, critic = nn.Linear(4, 1), nn.Linear(4, 1)
    acts, judges = (torch.optim.SGD(m.parameters(), lr=0.01) for m in (actor, critic))
    with gradscope.watch() as scope:
        for _ in range(12):
            for net, optimizer in ((actor, acts), (critic, judges)):
                optimizer.zero_grad()
                net(X).square().mean().backward()
                bound_before(net.parameters(), 1e-3)
            acts.step()
            judges.step()
    for fact in facts(scope.record):
        assert fact.acted >= 10 and 0 == fact.idle
    assert 2 == len(facts(scope.record))


def test_an_error_of_the_function_is_the_users() -> None:
    """`error_if_nonfinite` raises as it does, and the watch goes on."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    with gradscope.watch(None, optimizer) as scope:
        for value in (math.nan, 1.0):
            optimizer.zero_grad()
            (parameter * value).sum().backward()
            if value != value:
                with pytest.raises(RuntimeError, match="non-finite"):
                    bound_before([parameter], 1.0, error_if_nonfinite=True)
                with pytest.raises(TypeError):
                    bound_before([parameter])  # type: ignore[call-arg]
            else:
                bound_before([parameter], 1.0)
            optimizer.step()
    (fact,) = facts(scope.record)
    assert 1 == fact.calls


def test_it_keeps_neither_gradients_nor_parameters_alive() -> None:
    """A model that is gone is gone, with its gradients, while the watch goes on."""
    loop = Loop(by_norm)
    with gradscope.watch():
        loop.run("zbcs", 70)
        dead = [weakref.ref(p) for p in loop.model.parameters()]
        dead += [weakref.ref(p.grad) for p in loop.model.parameters() if p.grad is not None]
        del loop
        gc.collect()
        assert [] == [ref() for ref in dead if ref() is not None]


def test_compiled_functions_may_clip() -> None:
    """What torch.compile traces is passed through untouched: no graph break."""
    weight = torch.ones(3, requires_grad=True)

    def clip(grad: torch.Tensor) -> torch.Tensor:
        weight.grad = grad
        return bound_before([weight], 1.0)

    expected = clip(torch.ones(3))
    with gradscope.watch():
        total = torch.compile(clip, backend="eager")(torch.ones(3))
    assert torch.equal(expected, total)


def test_lines_and_norms_are_bounded() -> None:
    """A loop with hundreds of clipping lines costs no more than 32 of them."""
    source = "def clips(b, p):\n" + "    b([p], 1.0)\n" * 100
    names: dict[str, Any] = {}
    exec(compile(source, "many.py", "exec"), names)
    loop = Loop(lambda one: names["clips"](bound_before, one.model[0].weight))
    assert probe.SITES == len(facts(watched(loop, "zbcs", 5)[0]))


def quantiles(values: Iterable[float]) -> tuple[float, float, float]:
    low, median, high = np.quantile(list(values), (0.1, 0.5, 0.9))
    return float(low), float(median), float(high)


def test_the_quantiles_are_those_of_the_norms() -> None:
    """As numpy has them, of what clip_grad_norm_ returned."""
    totals: list[float] = []
    record, _ = watched(Loop(lambda loop: totals.append(float(by_norm(loop)))), "zbcs", 40)
    (fact,) = facts(record)
    assert quantiles(totals) == pytest.approx((fact.low, fact.median, fact.high))
