"""What the probes read of activations, initialisation and batch statistics from live graphs, changing nothing."""
from __future__ import annotations

import gc
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.facts.fact import newest_of
from gradscope.facts.loss import ConstantGuess
from gradscope.facts.model import (
    BatchStatistics,
    EqualUnits,
    Firing,
    GraphUnseen,
    Saturation,
    Signal,
)

Module = Callable[..., torch.Tensor]


def facts(kind: Any, forward: Module, *modules: nn.Module, loss: Any = None) -> list[Any]:
    """The newest of each thing of a kind, after four steps of a model on noise."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD([p for m in modules for p in m.parameters()], lr=1e-3)
    with gradscope.watch() as scope:
        for _ in range(4):
            optimizer.zero_grad()
            output = forward(torch.randn(16, 8))
            (output.square().mean() if loss is None else loss(output)).backward()
            optimizer.step()
    return newest_of(scope.record.facts.of(kind))


class Net(nn.Module):
    """A layer, a function, a layer."""

    def __init__(self, function: Module) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Linear(8, 6), nn.Linear(6, 3), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.function(self.first(x)))


@pytest.mark.parametrize(
    "function, name",
    [
        (nn.functional.relu, "ReLU"),
        (nn.ReLU(inplace=True), "ReLU"),
        (nn.ReLU6(), "ReLU6"),
        (lambda x: x.clamp(min=0), "clamp"),
        (nn.Hardswish(), "Hardswish"),
        (nn.GELU(), "GELU"),
    ],
    ids=["F.relu", "in place", "ReLU6", "clamp", "Hardswish", "GELU"],
)
def test_units_that_never_fire_are_counted(function: Module, name: str) -> None:
    """Two of six, whatever the function, in forward() or as a module; the layer before gives the name."""
    net = Net(function)
    with torch.no_grad():
        net.first.bias.copy_(torch.tensor([-50.0, 5.0, -50.0, 5.0, 5.0, 5.0]))
    [fact] = facts(Firing, net, net)
    assert ("first", name, 6) == (fact.place, fact.function, fact.units)
    assert (2, 2, 2, 2) == fact.silent and (16, 48, 64, 64) == fact.samples and (3, 1, 0, 0) == fact.since
    assert math.isclose(-80 / 6, fact.bias, rel_tol=0.01)


def test_units_of_convolutions_are_their_channels() -> None:
    """A channel is dead only if no position of any sample fires."""
    conv = nn.Conv2d(1, 4, 3)
    with torch.no_grad():
        conv.bias.copy_(torch.tensor([-90.0, 0.0, 0.0, 9.0]))
    [fact] = facts(Firing, lambda x: conv(x.reshape(-1, 1, 4, 8)).relu(), conv)
    assert (4, 1) == (fact.units, fact.silent[0])


def test_a_unit_that_fires_once_is_alive() -> None:
    """In one of four rows: silent in the newest only."""
    layer, row = nn.Linear(1, 2, bias=False), iter([1.0, 1.0, 1.0, -1.0])
    nn.init.ones_(layer.weight)
    [fact] = facts(Firing, lambda x: layer(torch.full((4, 1), next(row))).relu(), layer)
    assert (2, 0, 0, 0) == fact.silent


def test_leaky_functions_do_not_die() -> None:
    """Nothing is said of them."""
    net = Net(nn.functional.leaky_relu)
    assert [] == facts(Firing, net, net)


@pytest.mark.parametrize("function", [torch.tanh, torch.sigmoid])
def test_saturation_is_measured_with_what_goes_in(function: Module) -> None:
    """The share of flat values, the rms of inputs and weights."""
    net = Net(function)
    nn.init.normal_(net.first.weight, std=300.0)
    [fact] = facts(Saturation, net, net)
    assert fact.saturated > 0.9 and fact.place == "first" and fact.first and fact.fan_in == 8
    assert 0.7 < fact.inputs < 1.4 and 200 < fact.weights < 400
    [calm] = facts(Saturation, (calm_net := Net(function)), calm_net)
    assert calm.saturated == 0


@pytest.mark.parametrize("make", [nn.LSTMCell, nn.GRUCell])
def test_gates_are_let_alone(make: Any) -> None:
    """Open or closed: what is multiplied by something that learns too is a gate."""
    cell = make(8, 4)

    def forward(x: torch.Tensor) -> torch.Tensor:
        state = None
        for _ in range(3):
            state = cell(x, state)
        return state[0] if isinstance(state, tuple) else state

    assert "Sigmoid" not in {fact.function for fact in facts(Saturation, forward, cell)}


@pytest.mark.parametrize("training, shape, values", [(True, (8,), 16), (True, (2, 2, 2), 64), (False, (8,), None)])
def test_values_of_batch_statistics(training: bool, shape: tuple[int, ...], values: int | None) -> None:
    """Samples times positions; in eval mode none."""
    norm = (nn.BatchNorm1d(8) if len(shape) == 1 else nn.BatchNorm2d(2)).train(training)
    found = facts(BatchStatistics, lambda x: norm(x.reshape(-1, *shape)), norm, nn.Linear(1, 1))
    assert [values] * (values is not None) == [fact.number for fact in found]


@pytest.mark.parametrize("first", [True, False])
def test_equal_units_are_followed(first: bool) -> None:
    """Rows all alike before columns all alike: equal gradients. A head of zeros gets gradients that differ."""
    net = Net(torch.tanh)
    with torch.no_grad():
        net.second.weight.copy_(torch.arange(3.0)[:, None].expand(3, 6) if first else torch.zeros(3, 6))
        net.first.weight.copy_(net.first.weight[:1].expand(6, 8) if first else net.first.weight)
        net.first.bias.zero_()
    found = facts(EqualUnits, net, net, loss=lambda out: nn.functional.cross_entropy(out, torch.arange(16) % 3))
    alike = [(fact.parameter, fact.apart < 1e-3, fact.spread < 1e-3) for fact in found]
    assert [("first.weight", True, True) if first else ("second.weight", False, False)] == alike
    assert math.isnan(found[0].value) if first else found[0].value == 0


def test_the_signal_is_followed_from_the_loss_to_the_input() -> None:
    """Layer by layer, with what follows each; normalisation is noted."""
    net = Net(torch.relu)
    [fact] = facts(Signal, net, net)
    assert (("first", "second"), ("relu", ""), (8, 6)) == (fact.layers, fact.functions, fact.fan_in)
    assert 0.8 < fact.deviations[0] < 1.2 and not fact.normalised
    normed = nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    [fact] = facts(Signal, normed, normed)
    assert fact.normalised


def test_a_mean_squared_error_knows_its_guess() -> None:
    """The variance of the targets."""
    layer, target = nn.Linear(8, 1), torch.linspace(0, 6, 16)[:, None]
    found = facts(ConstantGuess, layer, layer, loss=lambda out: nn.functional.mse_loss(out, target))
    assert math.isclose(float(target.var()), found[0].loss, rel_tol=1e-5)


def test_checkpointed_graphs_are_not_unpacked() -> None:
    """Nothing is computed again for our sake; that nothing was seen is said."""
    net, calls = Net(torch.relu), []

    def count(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return net(x)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return checkpoint(count, x.requires_grad_(), use_reentrant=False)

    [fact] = facts(GraphUnseen, forward, net)
    assert 8 == len(calls) and "checkpointing" in fact.why


def test_compiled_graphs_are_blind_and_it_is_said() -> None:
    """One opaque node for the whole model. Of our hooks torch.compile does not warn the user."""
    net = Net(torch.relu)
    compiled = torch.compile(net, backend="aot_eager")
    found = facts(GraphUnseen, compiled, net)
    assert ["torch.compile"] == [fact.why for fact in found]
    assert [] == facts(Firing, compiled, net)


def test_of_the_users_own_hooks_torch_compile_warns() -> None:
    """As it does without gradscope, where it does."""
    net = Net(torch.relu)
    compiled = torch.compile(net, backend="eager")

    def told() -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            compiled(torch.randn(4, 8))
        return sum("global hooks" in str(warning.message) for warning in caught)

    handle = nn.modules.module.register_module_forward_hook(lambda module, args, output: None)
    try:
        bare = told()
        with gradscope.watch():
            assert bare == told()
    finally:
        handle.remove()
    assert 0 == told()


def test_nothing_is_kept_alive() -> None:
    """After the step, no activation is."""
    kept: list[weakref.ref[torch.Tensor]] = []
    net = Net(torch.relu)
    net.function = lambda x: (kept.append(weakref.ref(y := torch.relu(x))), y)[1]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with gradscope.watch():
        for _ in range(3):
            net(torch.randn(4, 8)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        gc.collect()
        assert [None] * 3 == [ref() for ref in kept]


def train(watched: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 8), nn.Sigmoid(),
        nn.Dropout(), nn.Linear(8, 3),
    )  # fmt: skip
    nn.init.zeros_(model[4].weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scope = gradscope.watch() if watched else None
    for _ in range(70):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(torch.randn(8, 1, 5, 6)), torch.randn(8, 3)).backward()
        optimizer.step()
    if scope is not None:
        scope.close()
        assert {"Firing", "Saturation", "BatchStatistics"} <= {key[0] for key in scope.record.facts.entries}
    return [*model.state_dict().values(), torch.rand(1)]


def test_training_is_the_same_to_the_bit() -> None:
    """Weights, statistics and random numbers, looked at closely or not."""
    assert all(torch.equal(a, b) for a, b in zip(train(True), train(False)))
