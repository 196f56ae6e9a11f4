"""Schedulers as the hook and the probe see them: which order is told, which is not, and that torch's warnings stay."""
from __future__ import annotations

import warnings
from typing import Any, Callable

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

import gradscope
from tests.records import ALONE, NO_METRIC

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def sgd(lr: float = 0.1) -> torch.optim.SGD:
    torch.manual_seed(0)
    return torch.optim.SGD(nn.Linear(3, 1).parameters(), lr=lr, momentum=0.9)


def batch(optimizer: torch.optim.Optimizer, step: bool = True) -> None:
    optimizer.zero_grad()
    weight, bias = optimizer.param_groups[0]["params"]
    (X @ weight.T + bias).square().mean().backward()
    if step:
        optimizer.step()


def told(loop: Callable[[], None]) -> list[str]:
    """What is said of a loop's scheduler."""
    with warnings.catch_warnings(), gradscope.watch() as scope:
        warnings.simplefilter("ignore")
        loop()
    assert scope.diagnose().skipped in (ALONE, NO_METRIC)  # ReduceLROnPlateau is given a metric
    return [f.text for f in scope.findings if f.code == "GS108"]


class Own(schedules.StepLR):
    """A user's own scheduler, which calls torch's."""

    def step(self, epoch: Any = None) -> None:
        super().step(epoch)


def chained(optimizer: torch.optim.Optimizer) -> schedules.LRScheduler:
    return schedules.ChainedScheduler([schedules.StepLR(optimizer, 1), schedules.ConstantLR(optimizer)])


def sequential(optimizer: torch.optim.Optimizer) -> schedules.LRScheduler:
    parts = [schedules.LinearLR(optimizer, total_iters=3), schedules.ExponentialLR(optimizer, 0.9)]
    return schedules.SequentialLR(optimizer, parts, [3])


KINDS: list[Callable[[torch.optim.Optimizer], Any]] = [
    lambda o: schedules.StepLR(o, 1),
    lambda o: schedules.StepLR(o, 30),
    lambda o: schedules.LambdaLR(o, lambda step: 0.9**step),
    lambda o: schedules.CosineAnnealingLR(o, 10),
    lambda o: schedules.OneCycleLR(o, 1.0, total_steps=99),
    lambda o: Own(o, 1),
    chained,
    sequential,
]


@pytest.mark.parametrize("per_epoch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_wrong_order_is_told_once_and_the_right_one_never(kind: Callable[..., Any], per_epoch: int) -> None:
    """Each kind of scheduler, stepped per batch or per epoch; chains and sequences count as one."""

    def loop(first: bool) -> None:
        optimizer = sgd()
        scheduler = kind(optimizer)
        for _ in range(4):
            if first:
                scheduler.step()
            for _ in range(per_epoch):
                batch(optimizer)
            if not first:
                scheduler.step()

    assert told(lambda: loop(first=False)) == []
    (text,) = told(lambda: loop(first=True))
    assert text.startswith("scheduler.step() ran before the first optimizer.step()")


def between_backward_and_step() -> None:
    optimizer = sgd()
    scheduler = schedules.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        batch(optimizer, step=False)
        scheduler.step()
        optimizer.step()


def test_the_value_that_was_skipped_is_named() -> None:
    """0.1 was meant to be the first learning rate; 0.05 was."""
    (text,) = told(between_backward_and_step)
    assert "the schedule's first value, lr 0.1, was never used; training began with 0.05" in text


def given_epochs() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    for epoch in range(3):
        scheduler.step(epoch)
        batch(optimizer)


def wound_forward() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    for epoch in range(6):
        if epoch > 2:
            batch(optimizer)
        scheduler.step()


def wound_forward_by_one() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    scheduler.step()
    for _ in range(3):
        batch(optimizer)
        scheduler.step()


def loaded() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    batch(optimizer)
    scheduler.step()
    other = sgd()
    resumed = schedules.StepLR(other, 1)
    resumed.load_state_dict(scheduler.state_dict())
    for _ in range(3):
        resumed.step()
        batch(other)


def loaded_optimizer() -> None:
    trained, optimizer = sgd(), sgd()
    batch(trained)
    optimizer.load_state_dict(trained.state_dict())
    scheduler = schedules.StepLR(optimizer, 1)
    for _ in range(3):
        scheduler.step()
        batch(optimizer)


def stepped_per_microbatch() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    for step in range(8):
        batch(optimizer, step=step % 2 == 1)
        scheduler.step()


def generator_every_second_turn() -> None:
    judge, generator = sgd(), sgd()
    judges, generators = schedules.StepLR(judge, 9), schedules.StepLR(generator, 9)
    for step in range(8):
        batch(judge)
        if step % 2:
            batch(generator)
        judges.step()
        generators.step()


def warm_up_from_zero() -> None:
    optimizer = sgd()
    scheduler = schedules.LambdaLR(optimizer, lambda step: min(1.0, step / 5))
    for _ in range(8):
        scheduler.step()
        batch(optimizer)


def skipped_by_the_scaler() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=1000)
    for _ in range(8):
        optimizer.zero_grad()
        weight, bias = optimizer.param_groups[0]["params"]
        scaler.scale((X @ weight.T + bias + 100).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()


def on_a_plateau() -> None:
    optimizer = sgd()
    scheduler = schedules.ReduceLROnPlateau(optimizer)
    for _ in range(3):
        scheduler.step(1.0)
        batch(optimizer)


def never_stepped() -> None:
    optimizer = sgd()
    scheduler = schedules.StepLR(optimizer, 1)
    for _ in range(3):
        scheduler.step()


@pytest.mark.parametrize(
    "loop",
    [
        given_epochs, wound_forward, wound_forward_by_one, loaded, loaded_optimizer, stepped_per_microbatch,
        generator_every_second_turn, warm_up_from_zero, skipped_by_the_scaler, on_a_plateau, never_stepped,
    ],
)  # fmt: skip
def test_it_is_silent_where_there_is_a_reason(loop: Callable[[], None]) -> None:
    """Epochs given, resumed, wound forward, accumulation, taking turns, lr 0, GradScaler, plateaus: no finding."""
    assert told(loop) == []


def test_an_optimizer_that_stepped_before_watching_began_is_left_alone() -> None:
    """Torch's own flag tells, also where the optimizer keeps no state."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = schedules.StepLR(optimizer, 1)
    batch(optimizer)

    def loop() -> None:
        for _ in range(3):
            scheduler.step()
            batch(optimizer)

    assert told(loop) == []


def test_torchs_own_warning_still_names_the_users_line() -> None:
    """The warning about the order comes with the same text, file and line as in a run that nobody watches."""

    def warned() -> list[tuple[str, str, int]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            between_backward_and_step()
            given_epochs()
        told = [w for w in caught if not issubclass(w.category, gradscope.GradscopeWarning)]
        return [(str(w.message), w.filename, w.lineno) for w in told]

    expected = warned()
    with gradscope.watch():
        got = warned()
    assert expected == got
    assert any("before `optimizer.step()`" in text and file == __file__ for text, file, _ in got)


def test_watching_twice_and_closing_leaves_schedulers_as_they_were() -> None:
    """Nothing stands in torch's module after close, and schedulers made meanwhile go on."""
    before = dict(vars(schedules))
    for _ in range(2):
        with gradscope.watch():
            optimizer = sgd()
            scheduler = schedules.StepLR(optimizer, 1)
            assert "step" not in vars(scheduler)
            batch(optimizer)
            scheduler.step()
    assert all(vars(schedules)[name] is value for name, value in before.items())
    batch(optimizer)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
