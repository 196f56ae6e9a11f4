"""Real loops: what the probe sees of schedulers, and that the advice of GS303 and GS304 heals the run it is for."""
from __future__ import annotations

import warnings
from typing import Any, Callable

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

import gradscope
from gradscope.facts.fact import newest_of
from gradscope.facts.learning_rate import Schedule
from gradscope.findings import Finding

Make = Callable[[torch.optim.Optimizer], Any]


def task() -> tuple[torch.Tensor, torch.Tensor]:
    """Six clusters in sixteen dimensions."""
    torch.manual_seed(0)
    labels = torch.randint(0, 6, (480,))
    return torch.randn(6, 16)[labels] + 0.7 * torch.randn(480, 16), labels


def train(
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    epochs: int = 20,
    make: Make = lambda optimizer: None,
    per: str = "batch",
) -> float:
    """A loop over batches of 32, fifteen an epoch; returns the loss over all of the data at its end."""
    inputs, labels = task()
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 6))
    optimizer = optimizer_of(model)
    scheduler = make(optimizer)
    for _ in range(epochs):
        for batch in torch.randperm(480).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            if scheduler is not None and per == "batch":
                scheduler.step()
        if scheduler is not None and per == "epoch":
            scheduler.step()
        if scheduler is not None and per == "metric":
            scheduler.step(1.0)
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(inputs), labels))


def watched(loop: Callable[[], float]) -> tuple[float, gradscope.Scope]:
    with warnings.catch_warnings(), gradscope.watch() as scope:
        warnings.simplefilter("ignore")
        loss = loop()
    return loss, scope


def sgd(lr: float = 0.1, **more: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.SGD(model.parameters(), lr=lr, **more)


def seen(scope: gradscope.Scope) -> list[Schedule]:
    return newest_of(scope.record.facts.of(Schedule))


def only(scope: gradscope.Scope, code: str) -> Finding:
    (finding,) = [f for f in scope.findings if f.code == code]
    return finding


# -- the probe --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per", "calls", "steps"), [("batch", 64, 63), ("epoch", 4, 45)])
def test_calls_are_counted_against_steps(per: str, calls: int, steps: int) -> None:
    """Per batch: a call each step; per epoch: fifteen steps between two of them. Told each time they have doubled."""
    _, scope = watched(lambda: train(sgd(), 5, lambda o: schedules.MultiStepLR(o, [3, 50]), per))
    (fact,) = seen(scope)
    assert ("MultiStepLR", "scheduler", calls, steps) == (fact.scheduler, fact.variable, fact.calls, fact.steps)
    assert {"milestones": [3, 50], "gamma": 0.1} == fact.settings
    with open(__file__, encoding="utf-8") as source:
        assert "scheduler.step()" in source.read().splitlines()[fact.site.line - 1]


def test_schedulers_in_a_chain_count_by_themselves() -> None:
    """Each under the line that steps the chain."""

    def chain(optimizer: torch.optim.Optimizer) -> schedules.ChainedScheduler:
        return schedules.ChainedScheduler([schedules.ConstantLR(optimizer), schedules.ExponentialLR(optimizer, 0.9)])

    _, scope = watched(lambda: train(sgd(), 2, chain))
    assert [("ConstantLR", 16), ("ExponentialLR", 16)] == sorted((f.scheduler, f.calls) for f in seen(scope))
    assert 1 == len({f.site for f in seen(scope)})


def test_reduce_on_plateau_is_seen_where_it_lowers_lr() -> None:
    """Its metric stands still: after two epochs of patience each second epoch counts."""
    _, scope = watched(lambda: train(sgd(), 6, lambda o: schedules.ReduceLROnPlateau(o, patience=1), "metric"))
    (fact,) = seen(scope)
    assert ("ReduceLROnPlateau", 2) == (fact.scheduler, fact.calls)
    assert [] == [f.code for f in scope.findings if f.code in ("GS108", "GS303")]


def test_schedulers_are_themselves_again() -> None:
    """Nothing is left on torch's classes."""
    before = schedules.ReduceLROnPlateau.__dict__["_reduce_lr"], schedules.__dict__["_enable_get_lr_call"]
    watched(lambda: train(sgd(), 1, lambda o: schedules.StepLR(o, 1)))
    assert before == (schedules.ReduceLROnPlateau.__dict__["_reduce_lr"], schedules.__dict__["_enable_get_lr_call"])


# -- the cures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedules.StepLR(o, 15, 0.1),
        lambda o: schedules.ExponentialLR(o, 0.9),
        lambda o: schedules.PolynomialLR(o, 25),
        lambda o: schedules.MultiStepLR(o, [8, 12]),
        lambda o: schedules.LambdaLR(o, lambda epoch: 0.9**epoch),
        lambda o: schedules.LambdaLR(o, lambda epoch: max(0.0, 1 - epoch / 25)),
    ],
    ids=["step", "exponential", "polynomial", "milestones", "lambda", "linear"],
)
def test_stepping_once_per_epoch_heals(make: Make) -> None:
    """The advice of GS303, followed: the finding is gone and the loss is at most half of what it was."""
    sick, scope = watched(lambda: train(sgd(), 25, make))
    finding = only(scope, "GS303")
    assert "once per epoch" in finding.advice[0].text
    healed, scope = watched(lambda: train(sgd(), 25, make, "epoch"))
    assert [] == [f.code for f in scope.findings if f.severity != "info"]
    assert healed < 0.5 * sick


@pytest.mark.parametrize(
    ("kind", "lr", "decay"),
    [
        (torch.optim.SGD, 0.1, 1.0),
        (torch.optim.SGD, 0.1, 0.4),
        (torch.optim.AdamW, 3e-3, 100.0),
        (torch.optim.Adam, 1e-2, 0.5),
        (torch.optim.RMSprop, 3e-3, 0.5),
    ],
)
def test_the_advised_weight_decay_heals(kind: Any, lr: float, decay: float) -> None:
    """The number that GS304 advises, set: the finding is gone, the loss about as good as without any decay."""

    def loop(weight_decay: float) -> float:
        return train(lambda model: kind(model.parameters(), lr=lr, weight_decay=weight_decay))

    sick, scope = watched(lambda: loop(decay))
    (advice,) = only(scope, "GS304").advice
    assert ("set-weight-decay", decay) == (advice.action, advice.values["from"])
    healed, scope = watched(lambda: loop(advice.values["to"]))
    assert [] == [f.code for f in scope.findings if f.severity != "info"]
    assert healed < 0.5 * sick
    assert healed < loop(0.0) + 0.05
