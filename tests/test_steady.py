"""The steady state: rows of which little is read tell the same as rows seen in full, and what is unusual ends it."""
from __future__ import annotations

import gc
import time
import weakref
from typing import Any, Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn

import gradscope
from gradscope.events import GradState, Point
from gradscope.record.record import Record, Wiring
from gradscope.recording import steady
from gradscope.recording.steady import LIMIT, Steady

X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.linspace(0, 1, 8).reshape(8, 1)


class Loop:
    """A loop whose rows are chosen one by one."""

    def __init__(self, kind: type[torch.optim.Optimizer] = torch.optim.SGD) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Dropout(0.1)), nn.Linear(4, 1))
        self.other = nn.Linear(3, 1)
        self.optimizer = kind(self.model.parameters(), lr=0.01)  # type: ignore[call-arg]
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 5, 0.9)

    def loss(self) -> torch.Tensor:
        return (self.model(X) - Y).square().mean()

    def plain(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def scheduled(self) -> None:
        self.plain()
        self.scheduler.step()

    def of_the_model(self) -> None:
        self.model.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def not_cleared(self) -> None:
        self.loss().backward()
        self.optimizer.step()

    def cleared_too_late(self) -> None:
        self.loss().backward()
        self.optimizer.zero_grad()
        self.optimizer.step()

    def zeroed(self) -> None:
        self.optimizer.zero_grad(set_to_none=False)
        self.loss().backward()
        self.optimizer.step()

    def accumulated(self) -> None:
        self.optimizer.zero_grad()
        for _ in range(3):
            (self.loss() / 3).backward()
        self.optimizer.step()

    def skipped(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()

    def without_backward(self) -> None:
        self.optimizer.zero_grad()
        self.optimizer.step()

    def stepped_twice(self) -> None:
        self.plain()
        self.optimizer.step()

    def partly_frozen(self) -> None:
        self.model[0].requires_grad_(False)
        self.plain()
        self.model[0].requires_grad_(True)

    def of_another_model(self) -> None:
        self.other.zero_grad()
        self.other(X).sum().backward()
        self.plain()

    def two_kinds_of_loss(self) -> None:
        self.optimizer.zero_grad()
        (self.model(X) - Y).abs().mean().backward()
        self.optimizer.step()

    def cleared_by_hand(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None
        self.loss().backward()
        self.optimizer.step()

    def filled_by_hand(self) -> None:
        self.optimizer.zero_grad()
        for parameter in self.model.parameters():
            parameter.grad = 1e-3 * parameter.detach().sign()
        self.loss().backward()
        self.optimizer.step()

    def partly_filled_by_hand(self) -> None:
        self.optimizer.zero_grad()
        self.model[0].bias.grad = torch.ones(4)
        self.loss().backward()
        self.optimizer.step()

    def step_that_fails(self) -> None:
        def fail(*_: object) -> None:
            raise ArithmeticError

        handle = self.optimizer.register_step_pre_hook(fail)
        with pytest.raises(ArithmeticError):
            self.plain()
        handle.remove()

    def with_a_closure(self) -> None:
        def closure() -> torch.Tensor:
            self.optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        self.optimizer.step(closure)

    def a_vector(self) -> None:
        self.optimizer.zero_grad()
        (self.model(X) - Y).square().backward(torch.ones(8, 1))
        self.optimizer.step()

    def failing(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        with pytest.raises(RuntimeError):
            loss.backward()
        self.optimizer.step()


KINDS = sorted(name for name, member in vars(Loop).items() if callable(member) and name not in ("__init__", "loss"))


def recorded(kinds: Sequence[str], every: int = 1000) -> Record:
    with gradscope.watch(every=every) as scope:
        loop = Loop()
        for kind in kinds:
            getattr(loop, kind)()
        return scope.record


def in_full(kinds: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Record:
    with monkeypatch.context() as patch:
        patch.setattr(steady.Steady, "can_begin", lambda *_: False)
        return recorded(kinds)


def assert_same(record: Record, expected: Record) -> None:
    assert expected.meta.backwards == record.meta.backwards
    assert expected.meta.rows == record.meta.rows
    for one, other in zip(record.optimizers, expected.optimizers, strict=True):
        for name in other.scalars:
            if not name.endswith("_site"):
                np.testing.assert_array_equal(one.scalars[name], other.scalars[name], err_msg=name)
            else:
                assert [expected.site(i) for i in other.scalars[name]] == [record.site(i) for i in one.scalars[name]]
        for name in other.counters:
            np.testing.assert_array_equal(one.counters[name], other.counters[name], err_msg=name)
        for course in other.losses:
            np.testing.assert_array_equal(one.losses[course]["mean"], other.losses[course]["mean"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6), st.integers(0, 5))
@example(["zeroed", "failing", "stepped_twice"], 3)
@example(["step_that_fails", "with_a_closure"], 0)
@example(["filled_by_hand", "partly_filled_by_hand", "step_that_fails"], 4)
def test_a_row_tells_the_same_as_one_seen_in_full(kinds: list[str], between: int) -> None:
    """Wiring, losses, learning rates, sites and counters, whatever comes after steady rows, and however mixed.

    But for one: where what a backward without a step had made is gone by hand before the next one begins, nothing tells
    any more that it had reached anything; the steady state counts one backward less in that row.
    """
    assume(between > 0 or "cleared_by_hand" not in kinds[1:])
    rows = ["plain"] * 20
    for kind in kinds:
        rows += [kind, *["scheduled"] * (between * 6)]
    with pytest.MonkeyPatch.context() as patch:
        expected = in_full(rows, patch)
        assert_same(recorded(rows), expected)


class Wrapped(torch.optim.SGD):
    """A step inside a step: torch's hooks run twice."""

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return super().step(closure)


def loop_of_a_wrapped_step(rows: int) -> None:
    loop = Loop(Wrapped)
    parent = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)  # never steps; torch hooks its class's step, too
    for _ in range(rows):
        loop.plain()
    del parent


def loop_with_gradients_replaced(rows: int) -> None:
    loop = Loop()
    for _ in range(rows):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        for parameter in loop.model.parameters():
            parameter.grad = parameter.grad + 1e-3
        loop.optimizer.step()


def loop_of_two_tasks(rows: int) -> None:
    loop = Loop()
    for _ in range(rows):
        loop.optimizer.zero_grad()
        (30 * loop.loss() + 10).backward()
        first = [p.grad for p in loop.model.parameters()]
        for parameter in loop.model.parameters():
            parameter.grad = None
        loop.loss().backward()
        for parameter, gradient in zip(loop.model.parameters(), first):
            parameter.grad.add_(gradient, alpha=0.01)
        loop.optimizer.step()


def loop_with_a_late_discriminator(rows: int) -> None:
    loop = Loop()
    other = torch.optim.SGD(loop.other.parameters(), lr=0.01)
    for row in range(rows):
        loop.optimizer.zero_grad()
        other.zero_grad()
        if row >= 50 and row % 10 == 0:
            loop.other(X).square().mean().backward()
            other.step()
        loop.loss().backward()
        loop.optimizer.step()


@pytest.mark.parametrize(
    "train", [loop_of_a_wrapped_step, loop_with_gradients_replaced, loop_of_two_tasks, loop_with_a_late_discriminator]
)
def test_hard_loops_tell_the_same(train: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def record(every: int = 1000) -> tuple[Record, list[str]]:
        with gradscope.watch(every=every) as scope:
            train(120)
            return scope.record, [finding.code for finding in scope.findings]

    told, found = record()
    with monkeypatch.context() as patch:
        patch.setattr(steady.Steady, "can_begin", lambda *_: False)
        expected, known = record()
    assert_same(told, expected)
    assert known == found == []


@pytest.mark.parametrize("every", [1, 2, 10])
def test_measured_rows_have_their_zero_grad(every: int) -> None:
    """What the timeline shows of it: before, and after."""
    (optimizer,) = recorded(["plain"] * 100, every).optimizers
    states = optimizer.arrays["state"][1:, [Point.BEFORE_ZERO_GRAD, Point.AFTER_ZERO_GRAD]]
    assert (states[:, 0] == GradState.STALE).all()
    assert (states[:, 1] == GradState.NONE).all()


def test_the_last_rows_of_an_optimizer_that_is_gone_are_there() -> None:
    """It went in the steady state; something else trains, or takes a gradient, after it."""

    def train() -> None:
        loop = Loop()
        for _ in range(100):
            loop.plain()
        del loop.scheduler
        gc.collect()

    with gradscope.watch(every=1000) as scope:
        train()
        gc.collect()
        time.sleep(0.3)
        x = X.clone().requires_grad_()
        (x * x).sum().backward()
        for _ in range(3):
            Loop().plain()
        rows = [len(optimizer.rows) for optimizer in scope.record.optimizers]
    assert 100 == rows[0]


def test_an_optimizer_of_an_earlier_phase_takes_no_part() -> None:
    """It is still there, with the gradients of its last step."""
    old, loop = Loop(), Loop()
    for _ in range(3):
        old.plain()
    with gradscope.watch(every=1000) as scope:
        for row in range(200):
            loop.accumulated() if row % 50 == 49 else loop.plain()
        assert [200] == [len(optimizer.rows) for optimizer in scope.record.optimizers]
        assert ["SGD"] == scope.record.meta.optimizers
    assert not scope.findings


def test_nothing_is_held_after_a_backward() -> None:
    """Neither the loss nor what it was made of, while no step follows."""
    loop = Loop()
    with gradscope.watch(every=1000):
        for _ in range(40):
            loop.plain()
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        held = weakref.ref(loss)
        del loss
        assert held() is None


def test_a_mistake_made_once_is_found_soon() -> None:
    """Rows seen in full are entered before the steady state hides them."""
    with gradscope.watch(every=1000) as scope:
        loop = Loop()
        for row in range(3200):
            loop.not_cleared() if row == 3010 else loop.plain()
        found = {finding.code: finding.step for finding in scope.findings}
    assert 3010 <= found["GS101"] <= 3010 + 16


@pytest.mark.parametrize("kind", ["accumulated", "of_the_model", "partly_frozen"])
def test_other_loops_have_a_steady_state_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accumulation; zero_grad of the model; a part that never gets a gradient."""
    entered = seen(monkeypatch)
    rows = [kind] * 80
    assert_same(recorded(rows), in_full(rows, monkeypatch))
    assert sum(entered) > 60


def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steady rows were handed over each time, from now on."""
    counts: list[int] = []
    original = Steady.hand_over

    def hand_over(self: Steady) -> None:
        counts.append(len(self._rows))
        original(self)

    monkeypatch.setattr(Steady, "hand_over", hand_over)
    return counts


def test_most_rows_of_a_healthy_loop_are_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """From row 10 on, but for one in 64 and those of the close looks at powers of two."""
    entered = seen(monkeypatch)
    recorded(["plain"] * 500)
    assert sum(entered) > 500 - 10 - 500 // LIMIT - 4 * 4 - 1


def test_measured_rows_are_seen_in_full() -> None:
    (optimizer,) = recorded(["plain"] * 100, every=7).optimizers
    assert list(range(0, 100, 7)) == optimizer.measured.tolist()
    assert np.isfinite(optimizer.arrays["norm"]).all(axis=(0, 2))[2:4].all()
    assert (optimizer.wiring & Wiring.STATISTICS != 0).tolist() == [row % 7 == 0 for row in range(100)]


def test_a_parameter_unfrozen_late_is_missed_at_once_or_soon() -> None:
    """It is trainable and gets no gradient, which changes nothing of what is read in every row."""
    loop = Loop()
    spare = nn.Parameter(torch.ones(2), requires_grad=False)
    loop.optimizer.add_param_group({"params": [spare]})
    with gradscope.watch(every=1000) as scope:
        for _ in range(100):
            loop.plain()
        spare.requires_grad_(True)
        for _ in range(100):
            loop.plain()
        (optimizer,) = scope.record.optimizers
    assert 100 - LIMIT <= optimizer.counters["missing"][-1] <= 100


def test_models_in_another_mode_end_it() -> None:
    """Told as soon as in a loop that is seen in full: GS110 asks for a few rows in eval mode."""
    with gradscope.watch(every=1000) as scope:
        loop = Loop()
        for _ in range(200):
            loop.plain()
        loop.model.eval()
        for _ in range(200):
            loop.plain()
        findings = {finding.code: finding for finding in scope.findings}
    assert 200 <= findings["GS110"].steps[0] <= 201
    assert findings["GS110"].step < 220


def test_a_scope_sees_its_own_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another optimizer's steps between them change nothing."""
    loop = Loop()
    others = torch.optim.SGD(loop.other.parameters(), lr=0.1)
    with gradscope.watch(loop.model, loop.optimizer, every=1000) as scope:
        for _ in range(60):
            loop.plain()
            others.zero_grad()
            loop.other(X).sum().backward()
            others.step()
        (optimizer,) = scope.record.optimizers
    assert 60 == len(optimizer.rows)
    assert set(optimizer.wiring.tolist()) <= {0, int(Wiring.STATISTICS)}


@pytest.mark.parametrize("broken", ["takes", "_expects_step", "stepped", "hand_over", "end"])
def test_what_breaks_in_it_is_said_once(
    broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("steady")

    def train() -> list[float]:
        loop = Loop()
        for _ in range(30):
            loop.plain()
        loop.not_cleared()
        return [p.sum().item() for p in loop.model.parameters()]

    expected = train()
    monkeypatch.setattr(Steady, broken, fail)
    with gradscope.watch(every=1000):
        assert expected == train()
    said = capsys.readouterr().err
    assert 1 == said.count("watching stopped at step") and "steady" in said


def losses_of(loop: Callable[[], None]) -> list[float]:
    with gradscope.watch(every=1000) as scope:
        loop()
        return list(scope.record.optimizers[0].scalars["loss"])


def test_reading_the_record_between_rows_changes_nothing() -> None:
    """Neither rows nor losses are entered twice or lost."""

    def train(look: bool) -> None:
        loop = Loop()
        for i in range(100):
            loop.plain()
            if look and i % 3 == 0:
                scope = gradscope.watch()
                assert i + 1 == len(scope.record.optimizers[0].rows)

    assert losses_of(lambda: train(False)) == losses_of(lambda: train(True))
