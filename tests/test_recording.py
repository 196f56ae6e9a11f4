"""What the recorder makes of a loop: rows, streams, losses, names, facts. Small real loops, watched at every step."""
from __future__ import annotations

import collections
import gc
import weakref
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

import gradscope
from gradscope.events import GradState, Point
from gradscope.facts.fact import newest_of
from gradscope.facts.loop import GraphAge, SkippedStep
from gradscope.facts.loss import SharedLoss
from gradscope.hooks.forward import glimpse
from gradscope.record.reader import find_run, read_record
from gradscope.record.record import OptimizerRecord, Record
from gradscope.recording.sampling import Sampling

X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.linspace(0, 1, 8).reshape(8, 1)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def recorded(loop: Callable[[], None]) -> Record:
    """The record of a loop, every row measured."""
    with gradscope.watch(every=1) as scope:
        loop()
        return scope.record


def sgd(model: nn.Module, lr: float = 0.01) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr)


def states(optimizer: OptimizerRecord, point: Point) -> list[GradState]:
    """The state of the first parameter in each row."""
    return [GradState(s) for s in optimizer.grad_state(point)[:, 0]]


def test_one_row_of_the_tutorials_loop() -> None:
    """None, None, a number, the same number, used: what three breakpoints would show."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)

    def loop() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            loss = (model(X) - Y).pow(2).mean()
            loss.backward()
            optimizer.step()

    (found,) = recorded(loop).optimizers
    assert states(found, Point.BEFORE_ZERO_GRAD) == [GradState.NONE, GradState.STALE]
    assert states(found, Point.AFTER_ZERO_GRAD) == [GradState.NONE] * 2
    assert states(found, Point.AFTER_BACKWARD) == states(found, Point.BEFORE_STEP) == [GradState.FRESH] * 2
    assert states(found, Point.AFTER_STEP) == [GradState.STALE] * 2
    norms = found.grad_norm(Point.BEFORE_STEP)[-1]
    np.testing.assert_allclose(norms, [p.grad.norm().item() for p in model.parameters()], rtol=1e-5)
    np.testing.assert_allclose(found.arrays["update_norm"][-1], 0.01 * norms, rtol=1e-4)


def test_accumulation_is_one_row_with_the_mean_loss() -> None:
    """Four backwards at one call site, one step: ACCUMULATED, and the losses' mean; two sites: their sum."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)
    seen: list[float] = []

    def loop() -> None:
        for part in range(4):
            loss = (model(X[2 * part : 2 * part + 2])).pow(2).mean()
            seen.append(loss.item())
            loss.backward()
        extra = model.weight.abs().sum()
        seen.append(extra.item())
        extra.backward()
        optimizer.step()

    record = recorded(loop)
    (found,) = record.optimizers
    assert found.rows.tolist() == [0]
    assert states(found, Point.AFTER_BACKWARD) == [GradState.ACCUMULATED]
    assert record.streams[0].loss[0] == pytest.approx(sum(seen[:4]) / 4 + seen[4], rel=1e-6)
    assert found.scalars["backwards"].tolist() == [5]


def test_a_gan_makes_two_rows_an_iteration_and_two_streams() -> None:
    """Each network's step is a row of its own; the generator's loss is not the discriminator's."""
    generator, discriminator = nn.Linear(3, 3), nn.Linear(3, 1)
    opt_g, opt_d = sgd(generator), sgd(discriminator)
    losses: dict[str, list[float]] = {"d": [], "g": []}

    def loop() -> None:
        for _ in range(3):
            opt_d.zero_grad()
            loss = discriminator(X).mean() - discriminator(generator(X).detach()).mean()
            losses["d"].append(loss.item())
            loss.backward()
            opt_d.step()
            opt_g.zero_grad()
            loss = discriminator(generator(X)).mean()
            losses["g"].append(loss.item())
            loss.backward()
            opt_g.step()

    record = recorded(loop)
    rows = {o.parameters[0].name.split(".")[0]: o.rows.tolist() for o in record.optimizers}
    assert rows == {"discriminator": [0, 2, 4], "generator": [1, 3, 5]}
    by_name = {s.optimizers[0].parameters[0].name[0]: s.loss for s in record.streams}
    np.testing.assert_allclose(by_name["d"], losses["d"], rtol=1e-5)
    np.testing.assert_allclose(by_name["g"], losses["g"], rtol=1e-5)


def test_optimizers_that_step_together_are_one_stream_until_they_part() -> None:
    """Two optimizers over one model: one stream; when one of them skips a row, two, and no third one is renamed."""
    model, other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1)), nn.Linear(3, 1)
    first, second, third = sgd(model[0]), sgd(model[1]), sgd(other)

    def iteration(*optimizers: torch.optim.Optimizer) -> None:
        model(X).mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        for optimizer in (first, second):
            optimizer.zero_grad()
        other(X).mean().backward()
        third.step()
        third.zero_grad()

    with gradscope.watch(every=1) as scope:
        iteration(first, second)
        iteration(first, second)
        assert [[o.number for o in s.optimizers] for s in scope.record.streams] == [[0, 1], [2]]
        iteration(first)
        assert [s.number for s in scope.record.streams] == [0, 1, 2]


def test_a_step_inside_backward_is_part_of_its_row() -> None:
    """One optimizer per parameter, stepping in a hook as soon as the gradient is there: one row a backward."""
    model = nn.Linear(3, 1)
    optimizers = {p: torch.optim.SGD([p], lr=0.01) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)

    def loop() -> None:
        for _ in range(3):
            model(X).mean().backward()

    record = recorded(loop)
    assert [o.rows.tolist() for o in record.optimizers] == [[0, 1, 2]] * 2
    assert all(states(o, Point.BEFORE_STEP) == [GradState.FRESH] * 3 for o in record.optimizers)


def test_a_closure_step_is_one_row() -> None:
    """LBFGS evaluates its closure many times in one step; the gradients before the step are those it worked with."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(X) - Y).pow(2).mean()
        loss.backward()
        return loss

    def loop() -> None:
        for _ in range(2):
            optimizer.step(closure)

    (found,) = recorded(loop).optimizers
    assert found.rows.tolist() == [0, 1]
    assert set(states(found, Point.BEFORE_STEP)) == {GradState.FRESH}
    assert found.counters["old"].tolist() == [0, 0]
    assert [p.name for p in found.parameters] == ["weight", "bias"]


def test_gradscaler_losses_are_unscaled_and_skips_are_events() -> None:
    """The loss that backward sees is scaled by 2**16; the record has the user's. A skipped step is no row."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    losses: list[float] = []

    def loop() -> None:
        for step in range(4):
            optimizer.zero_grad()
            loss = (model(X) - Y).pow(2).mean()
            if step == 2:
                loss = loss * float("inf")
            else:
                losses.append(loss.item())
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    record = recorded(loop)
    (found,) = record.optimizers
    assert found.rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(record.streams[0].loss, losses, rtol=1e-5)
    np.testing.assert_allclose(
        found.grad_norm(Point.AFTER_BACKWARD), found.grad_norm(Point.BEFORE_STEP), rtol=1e-4
    )
    assert found.scalars["loss_scale"].tolist() == [2.0**16, 2.0**16, 2.0**15]
    (skips,) = record.facts.of(SkippedStep)
    assert skips.count == 1


def test_the_sum_of_scaled_losses_is_unscaled_too() -> None:
    """Two losses scaled apart and added before backward."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    expected: list[float] = []

    def loop() -> None:
        a, b = model(X).pow(2).mean(), model.weight.abs().sum()
        expected.append((a + b).item())
        (scaler.scale(a) + scaler.scale(b)).backward()
        scaler.step(optimizer)

    assert recorded(loop).streams[0].loss[0] == pytest.approx(expected[0], rel=1e-5)


def test_names_are_those_of_the_root_module() -> None:
    """Tied weights are joined, layers in a plain list get their path, what belongs to no module a number."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight
            self.extra = [nn.Linear(3, 1, bias=False)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.extra[0](self.b(self.a(x)))

    net, free = Net(), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([net.a.weight, net.extra[0].weight, free], lr=0.1)

    def loop() -> None:
        (net(X) + free).mean().backward()
        optimizer.step()

    (found,) = recorded(loop).optimizers
    assert [p.name for p in found.parameters] == ["a.weight=b.weight", "extra[0].weight", "opt0.group0.2"]
    assert found.variable == "optimizer"


class Tied(nn.Module):
    """Weights that are one, a norm between them, and an output layer that was registered first."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.norm, self.inner = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 3, bias=False)
        self.inner.weight = self.out.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.inner(x)))


def in_places(record: Record) -> list[str]:
    """The names of all parameters, in the order of their places."""
    found = [parameter for optimizer in record.optimizers for parameter in optimizer.parameters]
    assert len({parameter.place for parameter in found}) == len(found)
    return [parameter.name for parameter in sorted(found, key=lambda parameter: parameter.place)]


def test_parameters_know_their_place_in_the_model(tmp_path: Path) -> None:
    """Groups with and without decay mix up their order; a record on disk knows it, too."""
    net = Tied()
    groups = [[p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim < 2][::-1]]
    optimizer = torch.optim.SGD([{"params": group} for group in groups], lr=0.1)

    def loop() -> None:
        net(X).mean().backward()
        optimizer.step()

    with gradscope.watch(log_dir=str(tmp_path)) as scope:
        loop()
    names = ["out.weight=inner.weight", "out.bias", "norm.weight", "norm.bias"]
    (found,), (read,) = scope.record.optimizers, read_record(find_run(tmp_path)).optimizers
    assert [(names[0], 0), (names[3], 3), (names[2], 2), (names[1], 1)] == [(p.name, p.place) for p in found.parameters]
    assert found.parameters == read.parameters


@pytest.mark.parametrize("several", [False, True])
def test_the_parameters_of_a_second_model_stand_behind_those_of_the_first(several: bool) -> None:
    """With one optimizer for both, or one for each; those of the second come first in it."""
    first, second = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), nn.Linear(2, 1)
    if several:
        optimizers = [sgd(second), sgd(first)]
    else:
        optimizers = [torch.optim.SGD([*second.parameters(), *reversed(list(first.parameters()))], lr=0.1)]

    def loop() -> None:
        second(first(X)).mean().backward()
        for optimizer in optimizers:
            optimizer.step()

    expected = [f"first.{layer}.{name}" for layer in "01" for name in ("weight", "bias")]
    assert [*expected, "second.weight", "second.bias"] == in_places(recorded(loop))


def test_parameters_of_no_model_have_no_place() -> None:
    """A plain list of tensors: nobody knows their order."""
    free = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.SGD(free, lr=0.1)

    def loop() -> None:
        (X * free[0] + free[1]).mean().backward()
        optimizer.step()

    (found,) = recorded(loop).optimizers
    assert [-1, -1] == [parameter.place for parameter in found.parameters]


def test_a_second_model_in_a_long_run_has_names_too() -> None:
    """K-fold: a new model and optimizer after many rows start a stream of their own, with names, and hold no memory."""
    graves = []

    def fold() -> None:
        model = nn.Linear(3, 1)
        graves.append(weakref.ref(model.weight))
        optimizer = sgd(model)
        for _ in range(10):
            optimizer.zero_grad()
            model(X).mean().backward()
            optimizer.step()

    def loop() -> None:
        for _ in range(3):
            fold()
        gc.collect()
        assert [ref() is None for ref in graves[:2]] == [True, True], "the record keeps no dead model alive"

    record = recorded(loop)
    assert [o.rows.tolist()[0] for o in record.optimizers] == [0, 10, 20]
    assert [s.number for s in record.streams] == [0, 1, 2]
    assert all(o.parameters[0].name.endswith("weight") and "opt" not in o.parameters[0].name for o in record.optimizers)


def test_parameters_added_later_get_columns() -> None:
    """add_param_group in the middle: rows before say "not seen"."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = sgd(model[1])

    def loop() -> None:
        for step in range(4):
            if step == 2:
                optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.5})
            optimizer.zero_grad()
            model(X).mean().backward()
            optimizer.step()

    (found,) = recorded(loop).optimizers
    assert [p.name for p in found.parameters] == ["1.weight", "1.bias", "0.weight", "0.bias"]
    assert found.grad_state(Point.BEFORE_STEP)[:, 2].tolist() == [0, 0, GradState.FRESH, GradState.FRESH]
    assert np.isnan(found.lr[0, 1]) and found.lr[3].tolist() == [0.01, 0.5]
    assert found.counters["steps"].tolist() == [4, 4, 2, 2]


def test_a_sum_of_losses_is_seen_as_a_chain_of_graphs() -> None:
    """`total += loss` keeps every graph alive; a bounded buffer of losses does too, but chains nothing."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)
    total: torch.Tensor | float = 0.0
    with gradscope.watch(every=1) as scope:
        for _ in range(50):
            optimizer.zero_grad()
            loss = model(X).mean()
            loss.backward()
            optimizer.step()
            total = total + loss
        summed = newest_of(scope.record.facts.of(GraphAge))[-1]
    assert summed.chained and summed.alive >= 40 and summed.oldest == 0
    buffer: collections.deque[torch.Tensor] = collections.deque(maxlen=30)
    del total, loss
    with gradscope.watch(every=1) as scope:
        for _ in range(50):
            optimizer.zero_grad()
            loss = model(X).mean()
            loss.backward()
            optimizer.step()
            buffer.append(loss)
        assert not any(age.chained for age in newest_of(scope.record.facts.of(GraphAge)))


def test_many_backwards_without_a_step_do_not_pile_up() -> None:
    """What waits for a row is read out now and then, also where no row ever comes."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)
    with gradscope.watch(every=1) as scope:
        for _ in range(300):
            optimizer.zero_grad()
            model(X).mean().backward()
        (track,) = [t for t in scope._session.recorder.tracks if t.number == 0]
        assert len(track._operations) < 200
        assert [f.code for f in scope.findings] == ["GS105"], "and the rules ran without a row"


def test_pause_looks_away_and_assumes_nothing_afterwards() -> None:
    """Steps inside the pause are no rows; a gradient made there does not count as used."""
    model = nn.Linear(3, 1)
    optimizer = sgd(model)
    with gradscope.watch(every=1) as scope:
        model(X).mean().backward()
        optimizer.step()
        with gradscope.pause():
            optimizer.zero_grad()
            model(X).mean().backward()
            optimizer.step()
        optimizer.zero_grad()
        model(X).mean().backward()
        optimizer.step()
        assert scope.record.optimizers[0].rows.tolist() == [0, 1]
        assert scope.diagnose().findings == ()


def test_watch_a_model_and_its_optimizer_sees_only_these() -> None:
    """Another model trained beside it makes no rows and no findings."""
    mine, other = nn.Linear(3, 1), nn.Linear(3, 1)
    my_optimizer, other_optimizer = sgd(mine), sgd(other)
    with gradscope.watch(mine, my_optimizer, every=1) as scope:
        for _ in range(5):
            other(X).mean().backward()
            other_optimizer.step()
            my_optimizer.zero_grad()
            mine(X).mean().backward()
            my_optimizer.step()
    assert [o.rows.tolist() for o in scope.record.optimizers] == [[0, 1, 2, 3, 4]]
    assert scope.findings == ()


def test_another_models_zero_grad_leaves_no_trace() -> None:
    """`discriminator.zero_grad()` is no clear of the generator's: its site and its picture stay its own."""
    mine, other = nn.Linear(3, 1), nn.Linear(3, 1)
    optimizer, other_optimizer = sgd(mine), sgd(other)

    def loop() -> None:
        for _ in range(2):
            mine(X).mean().backward()
            other(X).mean().backward()
            other.zero_grad()
            optimizer.step()
            other_optimizer.step()
            mine.zero_grad()

    record = recorded(loop)
    found = next(o for o in record.optimizers if o.parameters[0].name.startswith("mine"))
    assert states(found, Point.AFTER_ZERO_GRAD) == [GradState.NOT_SEEN, GradState.NONE]
    assert [record.site(n) is None for n in found.scalars["zero_grad_site"]] == [True, False]


def test_glimpses_do_not_take_reused_memory_for_shared_memory() -> None:
    """The next tensor gets the address of the one just freed: that is no detach() of it. A detached one shares it."""
    first = torch.zeros(1000)
    address, seen = first.data_ptr(), glimpse(first)
    assert seen.storage == glimpse(first.detach()).storage
    del first
    others = [torch.zeros(1000) for _ in range(50)]
    if all(o.data_ptr() != address for o in others):
        pytest.skip("the allocator did not give the address again")
    assert all(glimpse(o).storage != seen.storage for o in others)


def test_sampling_sees_each_of_two_optimizers_that_take_turns() -> None:
    """An even stride would always meet the same one."""
    sampling = Sampling()
    for row in range(5000):
        sampling.rows_done(row, 1, 1e-4 if sampling.measured(row) else 1e-5, 5e-4, streams=2)
    measured = [row for row in range(4000, 5000) if sampling.measured(row)]
    assert sampling.stride > 1
    assert {0, 1} == {row % 2 for row in measured}


def test_a_frozen_discriminator_still_makes_the_loss_adversarial() -> None:
    """With requires_grad off in the generator's turn, its parameters are no leaves of the graph: its modules tell."""
    generator, discriminator = nn.Linear(3, 3), nn.Linear(3, 1)
    of_generator, of_discriminator = sgd(generator), sgd(discriminator)

    def loop() -> None:
        for _ in range(6):
            discriminator.requires_grad_(True)
            of_discriminator.zero_grad()
            (discriminator(X).mean() - discriminator(generator(X).detach()).mean()).square().backward()
            of_discriminator.step()
            discriminator.requires_grad_(False)
            of_generator.zero_grad()
            discriminator(generator(X)).square().mean().backward()
            of_generator.step()

    record = recorded(loop)
    assert {(1, 0)} == {(fact.optimizer, fact.other) for fact in newest_of(record.facts.of(SharedLoss))}
