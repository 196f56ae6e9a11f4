"""A loss that stands out has its row measured, whatever the stride, and what is recorded of the other rows stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import gradscope
from gradscope.events import Point
from gradscope.record.record import Record
from gradscope.recording.alarm import FORGOTTEN, TIMES, LossAlarm
from gradscope.recording.sampling import MAX_STRIDE, SUSPICIOUS_ROWS, Sampling

OUTLIER = 150


def rung(losses: list[float], course: int = 0) -> list[int]:
    alarm = LossAlarm()
    return [i for i, loss in enumerate(losses) if alarm.stands_out(course, loss)]


@pytest.mark.parametrize(("loss", "expected"), [(1.9, []), (2.1, [20])])
def test_twice_the_largest_so_far(loss: float, expected: list[int]) -> None:
    """Just below, just above; from then on it is the largest itself."""
    assert expected == rung([1.0] * 20 + [loss, loss])


def test_the_largest_is_forgotten_slowly() -> None:
    """A run that has come down from 100 to 1 is told of a 5 after some hundreds of rows."""
    assert [] == rung([100.0, *[1.0] * 300, 5.0])
    assert [801] == rung([100.0, *[1.0] * 800, 5.0])


@pytest.mark.parametrize("losses", [[], [1.0], [0.0] * 9, [-1.0, -5.0, -0.1], [math.nan] * 9, [1.0, math.inf, 1.0]])
def test_what_is_not_above_zero_or_not_finite_is_quiet(losses: list[float]) -> None:
    """Losses that are no numbers are other rules' matter, and leave the level as it is."""
    assert [] == rung(losses)


def test_courses_are_apart() -> None:
    """Two losses by turns, of which one is a hundred times the other."""
    alarm = LossAlarm()
    assert not any(alarm.stands_out(i % 2, 100.0 if i % 2 else 1.0) for i in range(100))


def test_heavy_tails_seldom_ring() -> None:
    """Each time the largest doubles, at most: a handful of 10,000."""
    tail = np.abs(np.random.default_rng(0).standard_cauchy(10_000))
    assert len(rung(list(tail))) < 10_000 * math.log(1 / FORGOTTEN) / math.log(TIMES)


def train(watch: bool, backwards: int = 1) -> tuple[list[torch.Tensor], Record | None]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    scope = gradscope.watch(model, optimizer) if watch else None
    for row in range(300):
        optimizer.zero_grad()
        for _ in range(backwards):
            x = torch.randn(8, 3)
            ((model(x) - 1).square().mean() * (1e4 if row == OUTLIER else 1)).backward()
        optimizer.step()
    if scope is not None:
        scope.close()
    return [p.detach().clone() for p in model.parameters()], scope.record if scope is not None else None


@pytest.mark.parametrize("backwards", [1, 3])
def test_its_row_is_measured_in_the_middle_of_the_steady_state(
    backwards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient that its step used, the weights and the update; the training is the same to the bit."""
    monkeypatch.setattr(Sampling, "_choose", lambda self, row, streams: setattr(self, "stride", MAX_STRIDE))
    expected, _ = train(False, backwards)
    weights, record = train(True, backwards)
    assert all(torch.equal(a, b) for a, b in zip(expected, weights))
    assert record is not None
    (one,) = record.optimizers
    assert list(range(300)) == one.rows.tolist()
    late = one.measured[(one.measured >= 64) & (one.measured < 256)]
    assert list(range(OUTLIER, OUTLIER + SUSPICIOUS_ROWS)) == late.tolist()[:SUSPICIOUS_ROWS]  # then rules ask for more
    at = int(np.flatnonzero(one.measured == OUTLIER)[0])
    used = one.grad_norm(Point.BEFORE_STEP)[at]
    np.testing.assert_allclose(0.001 * used, one.arrays["update_norm"][at], rtol=1e-3)
    assert used[0] > 10 * np.median(one.grad_norm(Point.BEFORE_STEP)[:32, 0])
