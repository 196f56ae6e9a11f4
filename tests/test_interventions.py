"""What `gradscope try` changes in a running loop: it becomes the corrected loop, to the bit."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

from gradscope.hooks.clipping import BY_NORM, cell_of
from gradscope.trying.installed import Installed
from gradscope.trying.interventions import Intervention, make


def applied(steps: list[dict[str, Any]], train: Callable[[], Any]) -> tuple[Any, list[Intervention]]:
    """What `train` returns under these interventions; all optimizers are number 0."""
    made = make(steps, lambda optimizer: 0)
    installed = Installed(made)
    installed.rest()
    try:
        return train(), made
    finally:
        installed.undo()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def loop(
    optimizer_of: Callable[..., Any],
    *,
    lr: Any = 0.1,
    schedule: Callable[[Any], Any] | None = None,
    clear: bool = True,
    clip: float | None = None,
    steps: int = 20,
) -> tuple[list[float], list[float], list[torch.Tensor]]:
    """Losses, the learning rates that the script sees, the weights at the end."""
    model = network()
    optimizer = optimizer_of(model.parameters(), lr=lr)
    scheduler = schedule(optimizer) if schedule else None
    losses, rates = [], []
    for _ in range(steps):
        if clear:
            optimizer.zero_grad()
        loss = (model(torch.randn(16, 3)) - 3).square().mean()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return losses, rates, [p.detach().clone() for p in model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


SET_LR = {"action": "set-lr", "optimizer": 0, "group": 0, "from": 0.1, "to": 0.01}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_another_learning_rate_is_that_of_the_edited_script(kind: Any) -> None:
    """The weights are those of a script that says lr=0.01, the script itself still reads 0.1."""
    expected = loop(kind, lr=0.01)
    (losses, rates, weights), [one] = applied([SET_LR], lambda: loop(kind))
    assert expected[0] == losses
    assert same(expected[2], weights)
    assert {0.1} == set(rates)
    assert (20, "") == (one.applied, one.failure)


SCHEDULES: dict[str, Callable[[Any, float], Any]] = {
    "one cycle": lambda o, peak: torch.optim.lr_scheduler.OneCycleLR(o, peak, total_steps=21),
    "cosine": lambda o, peak: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
    "warm-up": lambda o, peak: torch.optim.lr_scheduler.LambdaLR(o, lambda t: min(1.0, t / 5)),
    "exponential": lambda o, peak: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_scaled_and_does_not_notice(name: str) -> None:
    """The weights are those of the script with a tenth of the peak, at every step; the scheduler's own state is that
    of the script as it is, also where it computes each rate from the one before."""
    schedule = SCHEDULES[name]
    as_it_is = loop(torch.optim.SGD, schedule=lambda o: schedule(o, 0.1))
    expected = loop(torch.optim.SGD, lr=0.01, schedule=lambda o: schedule(o, 0.01))
    (losses, rates, weights), _ = applied(
        [SET_LR], lambda: loop(torch.optim.SGD, schedule=lambda o: schedule(o, 0.1))
    )
    assert as_it_is[1] == rates
    np.testing.assert_allclose(expected[0], losses, rtol=1e-4)
    for one, other in zip(expected[2], weights):
        torch.testing.assert_close(one, other)
    assert not same(as_it_is[2], weights)


def test_a_learning_rate_in_a_tensor_stays_one() -> None:
    """`lr=torch.tensor(...)`: the same object is there again after each step."""
    rate = torch.tensor(0.1)
    expected = loop(torch.optim.SGD, lr=0.01)
    (losses, _, _), _ = applied([SET_LR], lambda: loop(torch.optim.SGD, lr=rate))
    np.testing.assert_allclose(expected[0], losses, rtol=1e-5)
    assert torch.equal(torch.tensor(0.1), rate)


def test_only_the_group_that_is_meant() -> None:
    """Of two groups one has another rate; without a group all have."""
    for group, expected in ((1, [0.5, 0.05]), (None, [0.05, 0.05])):
        weights = [torch.ones(1, requires_grad=True) for _ in range(2)]
        optimizer = torch.optim.SGD([{"params": [w]} for w in weights], lr=0.5)

        def train() -> None:
            torch.stack(weights).sum().backward()
            optimizer.step()

        applied([{**SET_LR, "from": 0.5, "to": 0.05, "group": group}], train)
        np.testing.assert_allclose(expected, [1 - w.item() for w in weights], rtol=1e-5)


def test_only_the_optimizer_that_is_meant() -> None:
    """Optimizers go by their numbers; the advice for another one changes nothing."""
    expected = loop(torch.optim.SGD)
    steps = [{**SET_LR, "optimizer": 1}, {"action": "insert-zero-grad", "optimizer": 1}]
    (losses, _, _), made = applied(steps, lambda: loop(torch.optim.SGD))
    assert expected[0] == losses
    assert [0, 0] == [one.applied for one in made]


def test_a_step_that_raises_does_not_scale_twice() -> None:
    """What a failed step has left is taken back before the next one."""

    class Fails(torch.optim.SGD):
        failed = False

        def step(self, closure: Any = None) -> Any:
            if not self.failed:
                self.failed = True
                raise RuntimeError("once")
            return super().step(closure)

    weight = torch.ones(1, requires_grad=True)
    optimizer = Fails([weight], lr=0.1)

    def train() -> None:
        weight.sum().backward()
        with pytest.raises(RuntimeError):
            optimizer.step()
        optimizer.step()

    applied([SET_LR], train)
    assert 0.1 == optimizer.param_groups[0]["lr"]
    assert 0.99 == pytest.approx(weight.item())


def test_clipping_is_that_of_the_edited_script() -> None:
    """clip_grad_norm_ between backward and step, to the bit."""
    expected = loop(torch.optim.SGD, clip=0.5)
    (losses, _, weights), _ = applied(
        [{"action": "clip-grad-norm", "optimizer": 0, "max_norm": 0.5}], lambda: loop(torch.optim.SGD)
    )
    assert expected[0] == losses
    assert same(expected[2], weights)


def test_a_clip_that_is_there_gets_another_max_norm() -> None:
    """The script's own call, to the bit, by whatever name it knows the function; other clips stay as they are."""
    steps = [{"action": "clip-grad-norm", "optimizer": 0, "max_norm": 0.5, "from": 1e-3}]
    expected = loop(torch.optim.SGD, clip=0.5)
    (losses, _, weights), [one] = applied(steps, lambda: loop(torch.optim.SGD, clip=1e-3))
    assert expected[0] == losses
    assert same(expected[2], weights)
    assert (20, "") == (one.applied, one.failure)
    (losses, _, _), [one] = applied(steps, lambda: loop(torch.optim.SGD, clip=0.1))
    assert loop(torch.optim.SGD, clip=0.1)[0] == losses
    assert 0 == one.applied
    parameter = torch.ones(1, requires_grad=True)
    parameter.grad = torch.ones(1)
    applied(steps, lambda: torch.nn.utils.clip_grad_norm_(parameters=parameter, max_norm=1e-3))
    assert 0.5 == pytest.approx(parameter.grad.item(), rel=1e-3)


ZERO_GRAD = {"action": "insert-zero-grad", "optimizer": 0, "file": "train.py", "line": 3}


def test_clearing_is_that_of_the_edited_script() -> None:
    """A loop without zero_grad becomes the one with it, to the bit."""
    expected = loop(torch.optim.SGD)
    (losses, _, weights), [one] = applied([ZERO_GRAD], lambda: loop(torch.optim.SGD, clear=False))
    assert expected[0] == losses
    assert same(expected[2], weights)
    assert 19 == one.applied  # the first backward needs none


def test_clearing_keeps_accumulated_gradients() -> None:
    """Several backwards for one step, of one loss or of several: what they have summed up is used whole, and the
    script finds its gradients after the step."""
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    seen = []

    def train() -> None:
        for _ in range(3):
            for _ in range(2):
                (2 * weight).sum().backward()
            (3 * weight).sum().backward()
            optimizer.step()
            seen.append(weight.grad.item())

    applied([ZERO_GRAD], train)
    assert [7.0, 7.0, 7.0] == seen


def test_what_a_generator_leaves_in_a_discriminator_is_cleared() -> None:
    """The generator's loss reaches the discriminator, too: its gradients there are not to be used."""
    critic, maker = (torch.zeros(1, requires_grad=True) for _ in range(2))
    critics, makers = torch.optim.SGD([critic], lr=1.0), torch.optim.SGD([maker], lr=1.0)
    used = []

    def train() -> None:
        for _ in range(3):
            (2 * critic).sum().backward()
            (3 * critic).sum().backward()
            critics.step()
            used.append(critic.grad.item())
            makers.zero_grad()
            (100 * critic + maker).sum().backward()
            makers.step()

    made = make([ZERO_GRAD], lambda optimizer: 0 if optimizer is critics else 1)
    installed = Installed(made)
    installed.rest()
    train()
    installed.undo()
    assert [5.0, 5.0, 5.0] == used


def test_gradients_are_kept_from_a_clearing_that_comes_too_late() -> None:
    """A loop that clears between backward and step, by the optimizer or by the model, becomes the one that clears
    before, to the bit."""

    def train(where: str, by: str) -> list[torch.Tensor]:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        clears = optimizer if by == "optimizer" else model
        for _ in range(10):
            if where == "before":
                clears.zero_grad()
            (model(torch.randn(16, 3)) - 3).square().mean().backward()
            if where == "after":
                clears.zero_grad()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()]

    for by in ("optimizer", "model"):
        expected = train("before", by)
        steps = [{"action": "move-zero-grad", "optimizer": 0}]
        weights, [one] = applied(steps, lambda: train("after", by))
        if by == "optimizer":  # of a model whose optimizer has not stepped yet, nothing is known
            assert same(expected, weights)
        assert not same(train("after", by), weights)
        assert "" == one.failure
        assert same(expected, applied(steps, lambda: train("before", by))[0])


def test_other_settings_are_those_of_the_edited_script() -> None:
    """weight_decay, eps and maximize inside of the step; the script reads its own."""
    kinds: list[tuple[str, Any, Any]] = [("weight_decay", 5.0, 0.01), ("eps", 1e8, 1e-8), ("maximize", True, False)]
    for name, own, other in kinds:
        read: list[Any] = []

        def train(value: Any) -> list[torch.Tensor]:
            model = network()
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1, **{name: value})
            for _ in range(10):
                optimizer.zero_grad()
                (model(torch.randn(16, 3)) - 3).square().mean().backward()
                optimizer.step()
                read.append(optimizer.param_groups[0][name])
            return [p.detach().clone() for p in model.parameters()]

        step = {"action": f"set-{name.replace('_', '-')}", "optimizer": 0, "group": 0, "from": own, "to": other}
        expected = train(other)
        read.clear()
        weights, [one] = applied([step], lambda: train(own))
        assert same(expected, weights), name
        assert {own} == set(read)
        assert (10, "") == (one.applied, one.failure)


def test_a_rate_that_is_held_is_that_of_the_script_without_its_schedule() -> None:
    """Whatever the scheduler writes between the steps."""
    expected = loop(torch.optim.SGD, lr=0.1)
    falling = SCHEDULES["exponential"]
    steps = [{"action": "hold-lr", "optimizer": 0, "to": 0.1}]
    (losses, rates, weights), _ = applied(steps, lambda: loop(torch.optim.SGD, schedule=lambda o: falling(o, 0.1)))
    assert expected[0] == losses
    assert same(expected[2], weights)
    assert rates == loop(torch.optim.SGD, schedule=lambda o: falling(o, 0.1))[1]


def stepping(steps: list[dict[str, Any]], train: Callable[[list[Any]], Any]) -> tuple[Any, Intervention]:
    """As `applied`, with an optimizer that `train` puts into the list that it is given."""
    optimizers: list[Any] = []
    [one] = made = make(steps, lambda optimizer: 0, lambda: optimizers)
    installed = Installed(made)
    installed.rest()
    try:
        return train(optimizers), one
    finally:
        installed.undo()


def test_a_step_that_is_never_made_is_made_after_its_backward() -> None:
    """At the line that is told, and at no other."""

    def train(optimizers: list[Any], step: bool) -> list[torch.Tensor]:
        model = network()
        optimizers.append(torch.optim.SGD(model.parameters(), lr=0.1))
        for _ in range(10):
            optimizers[-1].zero_grad()
            loss = (model(torch.randn(16, 3)) - 3).square().mean()
            loss.backward(retain_graph=True)
            if step:
                optimizers[-1].step()
            (0 * model(torch.ones(1, 3)).sum()).backward()
        return [p.detach().clone() for p in model.parameters()]

    line = train.__code__.co_firstlineno + 6
    expected = train([], True)
    weights, one = stepping([{"action": "insert-step", "optimizer": 0, "line": line}], lambda o: train(o, False))
    assert same(expected, weights)
    assert (10, "") == (one.applied, one.failure)
    _, one = stepping([{"action": "insert-step", "optimizer": 0, "line": 1}], lambda o: train(o, False))
    assert 0 == one.applied


def test_parameters_that_no_optimizer_holds_are_added() -> None:
    """Those of a layer that was forgotten; where there are more of them than told, none."""

    def train(optimizers: list[Any], whole: bool) -> list[torch.Tensor]:
        model = network()
        assert isinstance(model, nn.Sequential)
        given = [*model[2].parameters(), *model[0].parameters()] if whole else model[2].parameters()
        optimizers.append(torch.optim.SGD(given, lr=0.1, momentum=0.9))
        for _ in range(10):
            optimizers[-1].zero_grad()
            (model(torch.randn(16, 3)) - 3).square().mean().backward()
            optimizers[-1].step()
        return [p.detach().clone() for p in model.parameters()]

    expected = train([], True)
    weights, one = stepping([{"action": "add-parameters", "optimizer": 0, "count": 2}], lambda o: train(o, False))
    assert same(expected, weights)
    assert (1, "") == (one.applied, one.failure)
    _, one = stepping([{"action": "add-parameters", "optimizer": 0, "count": 1}], lambda o: train(o, False))
    assert 0 == one.applied


@pytest.mark.parametrize(
    "output,loss,right",
    [
        ("softmax", "cross-entropy", lambda x, y: nn.functional.cross_entropy(x, y)),
        ("sigmoid", "cross-entropy", lambda x, y: nn.functional.cross_entropy(x, y)),
        ("softmax", "nll", lambda x, y: nn.functional.cross_entropy(x, y)),
        ("logits", "nll", lambda x, y: nn.functional.cross_entropy(x, y)),
        (
            "sigmoid",
            "bce-with-logits",
            lambda x, y: nn.functional.binary_cross_entropy_with_logits(x, nn.functional.one_hot(y, 5).float()),
        ),
    ],
)
def test_a_loss_gets_what_it_takes(output: str, loss: str, right: Callable[..., torch.Tensor]) -> None:
    """The loss and its gradients are those of the script that hands it the logits, or their logarithms."""
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5), torch.randint(0, 5, (8,))

    def wrong() -> tuple[torch.Tensor, torch.Tensor]:
        x = logits.clone().requires_grad_()
        given = {"softmax": x.softmax(1), "sigmoid": x.sigmoid(), "logits": x}[output]
        kinds = {"cross-entropy": nn.CrossEntropyLoss(), "nll": nn.NLLLoss(), "bce-with-logits": nn.BCEWithLogitsLoss()}
        target = nn.functional.one_hot(labels, 5).float() if loss == "bce-with-logits" else labels
        value = kinds[loss](given, target)
        value.backward()
        assert x.grad is not None
        return value.detach(), x.grad

    x = logits.clone().requires_grad_()
    expected = right(x, labels)
    expected.backward()
    steps = [{"action": "take-logits", "optimizer": 0, "output": output, "loss": loss}]
    (value, gradient), [one] = applied(steps, wrong)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, x.grad, rtol=1e-4, atol=1e-6)
    assert (1, "") == (one.applied, one.failure)


def test_a_loss_that_gets_what_it_takes_is_left_alone() -> None:
    """Logits beside probabilities: another call of the same function."""
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5), torch.randint(0, 5, (8,))
    expected = nn.functional.cross_entropy(logits, labels)
    steps = [{"action": "take-logits", "optimizer": 0, "output": "softmax", "loss": "cross-entropy"}]
    value, [one] = applied(steps, lambda: nn.functional.cross_entropy(input=logits, target=labels))
    assert (expected.item(), 0, "") == (value.item(), one.applied, one.failure)


def test_gradients_are_unscaled_before_they_are_clipped() -> None:
    """As with scaler.unscale_() before the line that clips, to the bit, at each step, also at one that is skipped."""

    def train(optimizers: list[Any], unscale: bool) -> list[torch.Tensor]:
        model = network()
        optimizers.append(torch.optim.SGD(model.parameters(), lr=0.1))
        scaler = torch.amp.GradScaler("cpu")  # type: ignore[attr-defined]
        for step in range(10):
            optimizers[-1].zero_grad()
            loss = (model(torch.randn(16, 3)) - 3).square().mean()
            scaler.scale(loss * (float("inf") if step == 4 else 1)).backward()
            if unscale:
                scaler.unscale_(optimizers[-1])
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizers[-1])
            scaler.update()
        return [p.detach().clone() for p in model.parameters()]

    expected = train([], True)
    steps = [{"action": "unscale-before-clip", "optimizer": 0, "line": 3}]
    weights, one = stepping(steps, lambda o: train(o, False))
    assert same(expected, weights)
    assert (10, "") == (one.applied, one.failure)
    assert not same(train([], False), weights)


def test_closures_are_cleared_and_clipped_inside_of_the_step() -> None:
    """LBFGS calls its closure several times a step: each time gradients are cleared before, and clipped after."""

    def train(clear: bool, clip: bool) -> Any:
        torch.manual_seed(0)
        weight, x = torch.zeros(3, requires_grad=True), torch.randn(8, 3)
        optimizer = torch.optim.LBFGS([weight], lr=0.5, max_iter=5)

        def closure() -> torch.Tensor:
            if clear:
                optimizer.zero_grad()
            loss = (x @ weight - 1).square().mean()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_([weight], 0.1)
            return loss

        for _ in range(3):
            optimizer.step(closure)
        return weight.sum().item()

    steps = [ZERO_GRAD, {"action": "clip-grad-norm", "optimizer": 0, "max_norm": 0.1}]
    result, _ = applied(steps, lambda: train(False, False))
    assert train(True, True) == result
    assert train(True, False) != result


def test_nothing_is_left_behind() -> None:
    """Hooks and patches are gone."""

    def patched() -> tuple[Any, ...]:
        return torch.autograd.backward, cell_of(BY_NORM).cell_contents, dict(_global_optimizer_pre_hooks)

    before = patched()
    applied([SET_LR, ZERO_GRAD], lambda: None)
    assert before == patched()


def test_an_intervention_that_fails_does_not_reach_the_loop() -> None:
    """It ends, and says why."""
    made = make([SET_LR], lambda optimizer: 1 // 0)
    installed = Installed(made)
    installed.rest()
    loop(torch.optim.SGD, steps=2)
    installed.undo()
    assert made[0].failure.startswith("ZeroDivisionError")


class Sorted(torch.utils.data.Dataset[Any]):
    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(float(index))

    def __len__(self) -> int:
        return 16


def test_shuffling_is_that_of_the_edited_script() -> None:
    """The same batches, and the same random numbers after them; a validation's come in order still."""

    def train(shuffle: bool) -> tuple[list[Any], float]:
        torch.manual_seed(0)
        loader = torch.utils.data.DataLoader(Sorted(), batch_size=4, shuffle=shuffle)
        seen = [batch.tolist() for _ in range(2) for batch in loader]
        return seen, torch.rand(()).item()

    def validate() -> list[Any]:
        with torch.no_grad():
            return [batch.tolist() for batch in torch.utils.data.DataLoader(Sorted(), batch_size=16)]

    steps = [{"action": "shuffle-data", "optimizer": 0}]
    expected = train(True)
    result, [one] = applied(steps, lambda: train(False))
    assert expected == result
    assert (1, "") == (one.applied, one.failure)
    assert [list(map(float, range(16)))] == applied(steps, validate)[0]


@pytest.mark.parametrize("mean,std", [([3.0], [10.0]), ([1.0, 2.0, 3.0], [1.0, 10.0, 100.0]), ([], [])])
def test_inputs_are_scaled_as_in_the_edited_script(mean: list[float], std: list[float]) -> None:
    """By one number, by one for each feature, or by those of the first batch; in training and validation."""
    torch.manual_seed(1)
    data = torch.randn(5, 16, 3) * torch.tensor([1.0, 10.0, 100.0]) + 2

    def train(scale: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        losses = []
        for x in data:
            optimizer.zero_grad()
            loss = (model(scale(x)) - 3).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            return [*losses, model(scale(data[0])).sum().item()]

    taken = torch.tensor(mean or data[0].mean(0).tolist())
    by = torch.tensor(std or data[0].std(0, correction=0).tolist())
    expected = train(lambda x: (x - taken) / by)
    steps = [{"action": "scale-inputs", "optimizer": 0, "features": 3, "mean": mean, "std": std}]
    result, [one] = applied(steps, lambda: train(lambda x: x))
    np.testing.assert_allclose(expected, result, rtol=1e-4)
    assert (6, "") == (one.applied, one.failure)


def test_channels_are_scaled() -> None:
    """Of a convolution's first layer, and of no layer behind it."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))
    x = torch.randn(4, 2, 3, 3)
    mean, std = torch.tensor([1.0, 2.0]).reshape(2, 1, 1), torch.tensor([3.0, 4.0]).reshape(2, 1, 1)
    expected = model((x - mean) / std)
    steps = [{"action": "scale-inputs", "optimizer": 0, "features": 2, "mean": [1.0, 2.0], "std": [3.0, 4.0]}]
    result, _ = applied(steps, lambda: model(x))
    torch.testing.assert_close(expected, result)


def test_weights_are_drawn_anew_once() -> None:
    """After the first step, of the std that is told, and no others; the script's random numbers stay its own."""

    def train() -> tuple[list[torch.Tensor], float]:
        torch.manual_seed(0)
        model = nn.Linear(500, 20)
        nn.init.constant_(model.weight, 0.5)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 500)).square().mean().backward()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()], torch.rand(()).item()

    (_, bias), drawn = train()
    steps = [{"action": "start-weights", "optimizer": 0, "indices": [0], "stds": [0.03]}]
    ((weight, other), number), [one] = applied(steps, train)
    assert 0.03 == pytest.approx(weight.std().item(), rel=0.05)
    torch.testing.assert_close(bias, other, atol=1e-5, rtol=0)
    assert (drawn, 1, "") == (number, one.applied, one.failure)
