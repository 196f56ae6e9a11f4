"""Numbers of low precision as probes see them: lost updates, skipped steps, clips of scaled gradients, underflow."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from torch import nn

import gradscope
from gradscope.events import Site
from gradscope.facts.fact import Fact
from gradscope.facts.gradients import Clipping
from gradscope.facts.numerics import LossScaling, LostUpdates, Underflow
from gradscope.hooks.scaler import scale_of, waits_for_unscaling

X, Y = torch.linspace(-1, 1, 96).reshape(32, 3), torch.linspace(0, 1, 32).reshape(32, 1)


def facts(kind: type[Fact], loop: Callable[[], Any], **options: Any) -> list[Any]:
    """The newest of each of this kind."""
    torch.manual_seed(0)
    with gradscope.watch(**options) as scope:
        loop()
    return [entry.newest for entry in scope.record.facts.of(kind)]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


# -- lost updates -----------------------------------------------------------------------------------------------------


def in_bfloat16(
    lr: float, steps: int = 20, dtype: torch.dtype = torch.bfloat16, make: Any = torch.optim.SGD
) -> Callable[[], None]:
    def loop() -> None:
        model = net().to(dtype)
        optimizer = make(model.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(X.to(dtype)).float() - Y).square().mean().backward()
            optimizer.step()

    return loop


def test_updates_below_the_spacing_are_counted() -> None:
    """At an lr of 1e-9 all values stay; the spacing is that of bfloat16 at their size."""
    (fact,) = facts(LostUpdates, in_bfloat16(1e-9))
    assert fact.stayed == fact.compared > 100
    assert ("bfloat16", 3, 6, 8, "cpu") == (fact.dtype, fact.weights, fact.of, fact.looks, fact.device)
    assert fact.size / 256 < fact.spacing < fact.size / 64


def test_updates_that_arrive_are_not_lost() -> None:
    (fact,) = facts(LostUpdates, in_bfloat16(1.0))
    assert fact.stayed < 0.6 * fact.compared
    (fact,) = facts(LostUpdates, in_bfloat16(1e-3, make=torch.optim.Adam))
    assert fact.stayed < 0.8 * fact.compared


@pytest.mark.parametrize(("lr", "dtype"), [(0.0, torch.bfloat16), (1e-9, torch.float32)])
def test_nothing_to_lose(lr: float, dtype: torch.dtype) -> None:
    """A learning rate of 0, and weights in float32."""
    assert [] == facts(LostUpdates, in_bfloat16(lr, dtype=dtype))


def test_values_without_a_gradient_do_not_count() -> None:
    """Rows of an embedding that no token touched."""

    def loop() -> None:
        table = nn.Embedding(64, 4).bfloat16()
        optimizer = torch.optim.SGD(table.parameters(), lr=100.0)
        for _ in range(10):
            optimizer.zero_grad()
            table(torch.arange(4)).float().square().mean().backward()
            optimizer.step()

    (fact,) = facts(LostUpdates, loop)
    assert 0 < fact.compared <= 8 * 16 and fact.stayed < 0.5 * fact.compared


def test_gains_are_looked_at_where_there_is_no_matrix() -> None:
    """Beside one they are not: see the three weights of six above."""

    def loop() -> None:
        gain = nn.Parameter(torch.ones(16, dtype=torch.float16))
        optimizer = torch.optim.SGD([gain], lr=1e-6)
        for _ in range(10):
            optimizer.zero_grad()
            (gain * 3).float().square().mean().backward()
            optimizer.step()

    (fact,) = facts(LostUpdates, loop)
    assert (1, 1) == (fact.weights, fact.of) and fact.stayed == fact.compared == 8 * 16


# -- GradScaler -------------------------------------------------------------------------------------------------------


def scaled(clip: str, factor: float = 1.0, steps: int = 40, **settings: Any) -> Callable[[], None]:
    """One letter a call: u(nscale), c(lip), b(ackward)."""

    def loop() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01 / abs(factor))
        scaler = torch.amp.GradScaler("cpu", **settings)
        for step in range(steps):
            optimizer.zero_grad()
            for letter in clip:
                if letter == "b":
                    scaler.scale((model(X) - Y).square().mean() * factor).backward()
                elif letter == "u":
                    scaler.unscale_(optimizer)
                else:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()

    return loop


@pytest.mark.parametrize(
    ("clip", "settings", "count"),
    [
        ("bc", {}, 39),
        ("buc", {}, 0),
        ("bbc", {}, 39),
        ("bbuc", {}, 0),
        ("bcu", {}, 39),
        ("bc", {"enabled": False}, 0),
        ("bc", {"init_scale": 1.0}, 0),
    ],
)
def test_clips_of_scaled_gradients_are_counted(clip: str, settings: dict[str, Any], count: int) -> None:
    """From the scaler's first step on; not where unscale_ came first, or nothing is scaled."""
    (fact,) = facts(Clipping, scaled(clip, **settings))
    assert count == fact.scaled
    assert (65536.0 if count else 0.0) == fact.scale


def test_the_scaler_is_asked_and_not_changed() -> None:
    """Neither question leaves an entry in it."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu")
    assert waits_for_unscaling(scaler, optimizer) and scale_of(scaler) is None
    assert not scaler._per_optimizer_states
    scaler.scale((model(X) - Y).square().mean()).backward()
    assert waits_for_unscaling(scaler, optimizer) and 65536.0 == float(scale_of(scaler))
    scaler.unscale_(optimizer)
    assert not waits_for_unscaling(scaler, optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert waits_for_unscaling(scaler, optimizer)


def test_skipped_steps_in_a_row() -> None:
    """A loss that is no number: each step is skipped, at half the scale of the one before."""
    (fact,) = facts(LossScaling, scaled("b", float("nan"), 30))
    assert (30, 0, 30, 0, 0) == (fact.skipped, fact.steps, fact.streak, fact.since, fact.lately)
    assert (65536.0, 2.0**-13, 1, 2000) == (fact.first_scale, fact.scale, fact.scalers, fact.interval)
    assert (30, 30) == (fact.seen, fact.not_finite)
    assert fact.site.file == fact.made.file == __file__ and fact.made.line < fact.site.line


def test_skips_of_a_scale_that_grows() -> None:
    """Every other step, once the scale has found its place; the loss itself is a number."""
    (fact,) = facts(LossScaling, scaled("b", 1e30, 200, init_scale=2.0**40, growth_interval=1))
    assert 1 == fact.streak and 0 == fact.not_finite
    assert 60 <= fact.lately <= 66 and 128 == fact.window


def test_a_few_skips_are_no_matter() -> None:
    """Less than eight are not told."""
    assert [] == facts(LossScaling, scaled("b", 1e30, 30, init_scale=2.0**32))


def test_scalers_that_are_made_anew() -> None:
    """Each with the line that makes it."""

    def loop() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(12):
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
            optimizer.zero_grad()
            scaler.scale((model(X) - Y).square().mean() * 1e30).backward()
            scaler.step(optimizer)
            scaler.update()

    (fact,) = facts(LossScaling, loop)
    assert (12, 12) == (fact.skipped, fact.scalers)
    assert isinstance(fact.made, Site) and fact.made.line < fact.site.line


# -- underflow --------------------------------------------------------------------------------------------------------


def in_float16(factor: float, dtype: torch.dtype = torch.float16, scale: bool = False) -> Callable[[], None]:
    def loop() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", enabled=scale)
        for _ in range(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = (model(X).float() - Y).square().mean() * factor
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    return loop


def test_a_cast_that_loses_all_is_seen() -> None:
    """Gradients of 1e-10 become 0 on their way into float16."""
    (fact,) = facts(Underflow, in_float16(1e-9))
    assert (3, 3, 0, 1) == (fact.layers, fact.gone, fact.faint, fact.casts)
    assert ("4.weight", "cpu") == (fact.parameter, fact.device)


def test_an_operation_that_loses_all_is_seen() -> None:
    """Gradients come into float16 well enough, but near its end, and a factor within the model makes zeroes of them."""

    def loop() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                made = model(X) * 1e-3
            ((made.float() - Y).square().mean() * 1e-5).backward()
            optimizer.step()

    (fact,) = facts(Underflow, loop)
    assert (3, 3, 0, 0) == (fact.layers, fact.gone, fact.faint, fact.casts)
    assert 1 < fact.size < 64


def test_layers_far_from_the_loss_are_the_first_to_get_nothing() -> None:
    """The last one is still handed something."""
    (fact,) = facts(Underflow, in_float16(3e-6))
    assert 0 < fact.gone + fact.faint < fact.layers == 3
    assert fact.parameter in ("0.weight", "2.weight") and 0 < fact.size < 64


def test_gradients_that_float16_holds() -> None:
    (fact,) = facts(Underflow, in_float16(1.0))
    assert (3, 0, 0, 0) == (fact.layers, fact.gone, fact.faint, fact.casts)
    assert fact.size > 64


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, False), (torch.float16, True)])
def test_bfloat16_and_a_scaler_need_no_look(dtype: torch.dtype, scale: bool) -> None:
    assert [] == facts(Underflow, in_float16(1e-9, dtype, scale))
