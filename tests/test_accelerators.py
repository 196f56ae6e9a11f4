"""What would run on an accelerator, on the CPU: numbers that arrive late, and nobody who waits for them."""
from __future__ import annotations

import sys
from typing import Any, Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import gradscope.session  # with all that it needs: the fixture patches what has been imported
from gradscope.facts.fact import Fact
from gradscope.facts.gradients import Clipping
from gradscope.facts.numerics import LossScaling, LostUpdates, Underflow
from gradscope.record.record import Record
from gradscope.recording import stats

X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.linspace(0, 1, 8).reshape(8, 1)
READS = ("_local_scalar_dense", "equal", "item", "is_nonzero")  # of a value: a synchronisation on an accelerator


class Reads(TorchDispatchMode):
    """Counts the operations that an accelerator would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function.overloadpacket.__name__ in READS
        return function(*args, **(kwargs or {}))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """No tensor is on the host, and each copy arrives when it has been asked for three times."""
    copies: list[int] = []

    class Arrival:
        def __init__(self) -> None:
            self.number = len(copies)
            copies.append(0)

        def query(self) -> bool:
            copies[self.number] += 1
            return copies[self.number] > 3

        def synchronize(self) -> None:
            copies[self.number] = 4

    def to_host(tensor: torch.Tensor) -> tuple[torch.Tensor, Arrival]:
        return tensor.clone(), Arrival()

    monkeypatch.setattr(stats, "to_host", to_host)
    for name, module in list(sys.modules.items()):
        if name.startswith("gradscope.") and hasattr(module, "on_host"):
            monkeypatch.setattr(module, "on_host", lambda tensor: False)
    yield copies


def train(steps: int, scaled: bool = False, at: Callable[[int], None] = lambda step: None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
    for step in range(steps):
        at(step)
        optimizer.zero_grad()
        loss = (model(X) - Y).square().mean()
        scaler.scale(loss).backward()
        if scaled and step % 3:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()


def recorded(loop: Callable[[], None], **options: Any) -> Record:
    with gradscope.watch(**options) as scope:
        loop()
        return scope.record


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("every", [1, 7])
def test_what_arrives_late_is_entered_all_the_same(
    scaled: bool, every: int, request: pytest.FixtureRequest
) -> None:
    """Every row, in order, with the same numbers as when they are there at once."""
    expected = recorded(lambda: train(150, scaled), every=every)
    copies = request.getfixturevalue("late")
    record = recorded(lambda: train(150, scaled), every=every)
    assert copies
    (one,), (other,) = record.optimizers, expected.optimizers
    for name in other.scalars:
        np.testing.assert_array_equal(one.scalars[name], other.scalars[name], err_msg=name)
    for name in other.arrays:
        np.testing.assert_array_equal(one.arrays[name], other.arrays[name], err_msg=name)
    assert 1024.0 == other.scalars["loss_scale"][0] or not scaled


def test_rules_do_not_wait(late: list[int]) -> None:
    """They see what has arrived; the rest is seen a few rows later."""
    with gradscope.watch() as scope:
        train(20)
        known = len(scope._session.recorder.view(live=True).optimizers[0].rows)
        assert known <= 20
        assert 20 == len(scope.record.optimizers[0].rows)


@pytest.mark.parametrize("scaled", [False, True])
def test_nothing_is_read_in_the_steady_state(scaled: bool, late: list[int]) -> None:
    """After the first rows no value of a tensor is asked for, by what is watched or by what is measured.

    GradScaler itself reads one value a step.
    """
    reads = Reads()
    counts: list[int] = []

    def at(step: int) -> None:
        if step in (70, 127):  # between the close looks at powers of two
            counts.append(reads.count)

    with gradscope.watch(every=5), reads:
        train(130, scaled, at)
    assert counts[1] - counts[0] == (57 if scaled else 0)


def test_a_mistake_is_found_late_but_found(late: list[int]) -> None:
    with gradscope.watch() as scope:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(40):
            (model(X) - Y).square().mean().backward()
            optimizer.step()
        assert "GS101" in [finding.code for finding in scope.findings]


def in_low_precision(dtype: torch.dtype, steps: int, factor: float, scaled: bool) -> Callable[[], None]:
    """Weights or autocast of that precision, and with a scaler one NaN in two batches, and a clip before unscale_."""

    def loop() -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
        model = model.bfloat16() if dtype is torch.bfloat16 else model
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        for step in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16, enabled=dtype is torch.float16):
                output = model(X.to(dtype) if dtype is torch.bfloat16 else X)
                loss = (output.float() - Y).square().mean() * factor
            scaler.scale(loss * float("nan") if scaled and step % 2 else loss).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()

    return loop


@pytest.mark.parametrize(
    ("dtype", "factor", "scaled", "kind"),
    [
        (torch.bfloat16, 1e-6, False, LostUpdates),
        (torch.float16, 1e-9, False, Underflow),
        (torch.float16, 1.0, True, LossScaling),
        (torch.float16, 1.0, True, Clipping),
    ],
)
def test_facts_of_low_precision_arrive_late(
    dtype: torch.dtype, factor: float, scaled: bool, kind: type[Fact], request: pytest.FixtureRequest
) -> None:
    """With the numbers that they have when they are there at once, but for what only the host can tell."""
    loop = in_low_precision(dtype, 60, factor, scaled)
    (expected,) = [entry.newest for entry in recorded(loop).facts.of(kind)]
    request.getfixturevalue("late")
    (late,) = [entry.newest for entry in recorded(loop).facts.of(kind)]
    for name in ("compared", "stayed", "spacing", "gone", "casts", "size", "skipped", "scale", "first_scale"):
        assert getattr(expected, name, 0) == getattr(late, name, 0), name
    assert getattr(expected, "scaled", 28) == pytest.approx(getattr(late, "scaled", 28), abs=2)
    assert expected.row == late.row


@pytest.mark.parametrize(("dtype", "factor"), [(torch.bfloat16, 1e-6), (torch.float16, 1e-9)])
def test_no_value_is_read_for_facts_of_low_precision(dtype: torch.dtype, factor: float, late: list[int]) -> None:
    """In no row: as many as for weights, and gradients, in float32."""
    counts = []
    for precision in (torch.float32, dtype):
        reads = Reads()
        with gradscope.watch(every=5) as scope, reads:
            in_low_precision(precision, 20, factor, False)()
        counts.append(reads.count)
    assert counts[0] == counts[1]
    assert scope.record.facts.of(LostUpdates if dtype is torch.bfloat16 else Underflow)


def test_metrics_are_not_waited_for(late: list[int]) -> None:
    """What is logged, and what an evaluation gives, is read out when it has arrived, in order; at the end all is."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch(budget=0) as scope:
        for epoch in range(12):
            model.train()
            optimizer.zero_grad()
            nn.functional.mse_loss(model(X), Y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                output = model(X)
                with Reads() as reads:
                    loss = nn.functional.mse_loss(output, Y)
                    scope.log(val_loss=loss if epoch % 2 else float(epoch))
                assert 0 == reads.count
                loss.zero_()  # a copy was taken
    seen = {metric.name: metric for metric in scope.record.metrics}
    logged, evaluated = seen["val_loss"], seen["squared error in eval mode"]
    assert [0.0, 2.0, 4.0, 6.0, 8.0, 10.0] == logged.value[::2].tolist()
    assert list(range(12)) == logged.row.tolist() == evaluated.row.tolist()
    assert logged.value[1::2].tolist() == evaluated.value[1::2].tolist()
