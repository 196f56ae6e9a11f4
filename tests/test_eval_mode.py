"""When the eval mode of a model at its steps is told, and when it is meant."""
from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import torch
from torch import nn

import gradscope
from gradscope.findings import Finding
from tests.records import NO_METRIC

X, Y = torch.linspace(-1, 1, 48).reshape(8, 6), torch.linspace(0, 1, 8).reshape(8, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Dropout(0.3))
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def train(model: nn.Module, steps: int, optimizer: torch.optim.Optimizer | None = None) -> torch.optim.Optimizer:
    optimizer = optimizer or torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(X) - Y).square().mean().backward()
        optimizer.step()
    return optimizer


def findings(loop: Callable[[], Any]) -> list[Finding]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with gradscope.watch() as scope:
            loop()
    assert scope.diagnose().skipped == NO_METRIC
    return [f for f in scope.findings if f.code == "GS110"]


def told(loop: Callable[[], Any]) -> list[str]:
    return [finding.text for finding in findings(loop)]


def test_a_model_never_put_into_train_mode() -> None:
    """Which layers, how many steps, and what the loop calls the model."""
    net = Net().eval()
    assert told(lambda: train(net, 12)) == [
        "model was in eval mode at all 12 steps: BatchNorm1d, 2 x Dropout worked as in validation"
    ]


def test_a_validation_that_was_never_undone() -> None:
    """Since which step, and what probably happened."""
    net = Net()

    def loop() -> None:
        optimizer = train(net, 15)
        net.eval()
        net(X)
        train(net, 20, optimizer)

    (finding,) = findings(loop)
    assert finding.steps == (15, 34)
    assert finding.text.startswith("model was in eval mode at 20 steps since step 15")
    assert "the model.eval() of a validation was never undone" in finding.text


def test_a_second_optimizer_after_the_validation() -> None:
    """The same model, trained on by a new optimizer: what the first one saw counts."""
    net = Net()

    def loop() -> None:
        train(net, 15)
        net.eval()
        train(net, 15)

    (text,) = told(loop)
    assert "was never undone" in text


@pytest.mark.parametrize("steps, expected", [(4, 0), (5, 1)])
def test_a_short_run(steps: int, expected: int) -> None:
    """All steps of it, if there are at least 5."""
    assert len(told(lambda: train(Net().eval(), steps))) == expected


def test_two_optimizers_on_one_model_are_told_once() -> None:
    """Muon beside AdamW: the one that holds most of the model."""
    net = Net().eval()

    def loop() -> None:
        both = [torch.optim.SGD(net.body.parameters(), lr=0.01), torch.optim.SGD(net.head.parameters(), lr=0.01)]
        for _ in range(15):
            for optimizer in both:
                optimizer.zero_grad()
            (net(X) - Y).square().mean().backward()
            for optimizer in both:
                optimizer.step()

    assert len(told(loop)) == 1


def epochs(encoder: nn.Module, decoder: nn.Module, head: Callable[[], Any], tail: Callable[[], Any]) -> None:
    """Two models and one optimizer; `head` and `tail` are called around the steps of an epoch."""
    optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.01)
    for _ in range(3):
        head()
        for _ in range(12):
            optimizer.zero_grad()
            (decoder(encoder(X)) - Y).square().mean().backward()
            optimizer.step()
        tail()


def two() -> tuple[nn.Module, nn.Module]:
    net = Net()
    return net.body, nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2), nn.Linear(8, 1))


def test_one_of_two_models_left_in_eval_mode() -> None:
    """A validation of both, after which only one trains again; all told by the first and the last such step."""
    encoder, decoder = two()
    (finding,) = findings(lambda: epochs(encoder, decoder, decoder.train, lambda: (encoder.eval(), decoder.eval())))
    assert finding.text.startswith("encoder was in eval mode at 24 steps since step 12: BatchNorm1d, 2 x Dropout")
    assert "the encoder.eval() of a validation was never undone" in finding.text
    assert finding.steps == (12, 35)


def test_one_of_two_models_that_never_was_in_train_mode() -> None:
    """Validated before the first step: batch normalisation that has counted nothing tells that it is new."""
    encoder, decoder = two()
    encoder.eval(), decoder.eval()
    told_before: list[str] = told(lambda: epochs(encoder, decoder, decoder.train, lambda: None))
    assert told_before == []  # nobody has seen it
    encoder.train()

    def validated_first() -> None:
        encoder.eval(), decoder.eval()
        epochs(encoder, decoder, decoder.train, lambda: None)

    (text,) = told(validated_first)
    assert text.startswith("encoder was in eval mode at all 36 steps")


def one_of_two_on_purpose() -> None:
    encoder, decoder = two()

    def head() -> None:
        decoder.train()
        encoder.eval()

    epochs(encoder, decoder, head, lambda: (encoder.eval(), decoder.eval()))


def one_of_two_has_learned_before() -> None:
    encoder, decoder = two()
    train(nn.Sequential(encoder, nn.Linear(8, 1)), 3)
    encoder.eval(), decoder.eval()
    epochs(encoder, decoder, decoder.train, lambda: None)


def one_of_two_freezes_after_an_epoch() -> None:
    encoder, decoder = two()
    epochs(encoder, decoder, decoder.train, encoder.eval)


def both_trained_again() -> None:
    encoder, decoder = two()
    epochs(encoder, decoder, lambda: (encoder.train(), decoder.train()), lambda: (encoder.eval(), decoder.eval()))


def frozen_batch_norm() -> None:
    net = Net()
    net.body[1].eval()
    train(net, 20)


def body_in_eval_mode() -> None:
    net = Net()
    net.body.eval()
    train(net, 20)


def body_called_by_itself() -> None:
    net = Net()
    net.body.eval()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (net.head(net.body(X)) - Y).square().mean().backward()
        optimizer.step()


def linear_probe() -> None:
    net = Net().eval()
    for p in net.body.parameters():
        p.requires_grad_(False)
    train(net, 20)


def linear_probe_without_freezing() -> None:
    net = Net().eval()
    train(net, 20, torch.optim.SGD(net.head.parameters(), lr=0.01))


def no_such_layers() -> None:
    train(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.0), nn.LayerNorm(4), nn.Linear(4, 1)).eval(), 20)


def batch_norm_without_statistics() -> None:
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    train(nn.Sequential(nn.Linear(6, 4), norm, nn.Linear(4, 1)).eval(), 20)


def a_teacher() -> None:
    teacher, student = Net().eval(), Net()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (student(X) - teacher(X)).square().mean().backward()
        teacher.zero_grad()
        optimizer.step()


def an_image_is_optimized() -> None:
    net = Net().eval()
    image = X.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        net(image).square().mean().backward()
        optimizer.step()


def attacked_in_eval_mode_trained_in_train_mode() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(20):
        net.eval()
        attack = X.clone().requires_grad_()
        (net(attack) - Y).square().mean().backward()
        net.train()
        train(net, 1, optimizer)


def validated_before_the_step() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(20):
        net.train()
        optimizer.zero_grad()
        (net(X) - Y).square().mean().backward()
        net.eval()
        optimizer.step()


def evaluating_for_a_few_steps() -> None:
    net = Net()
    optimizer = train(net, 10)
    for _ in range(4):
        net.eval()
        train(net, 9, optimizer)
        net.train()
        train(net, 3, optimizer)


def evaluating_for_the_first_few_steps() -> None:
    net = Net().eval()
    optimizer = train(net, 5)
    net.train()
    train(net, 5, optimizer)


def copies_fitted_at_test_time() -> None:
    net = Net()
    train(net, 20)
    net.eval()
    for _ in range(5):
        train(copy.deepcopy(net), 12)


def dropout_chosen_by_hand() -> None:
    net = Net().eval()
    net.body[3].train()
    train(net, 20)


def closure_of_lbfgs() -> None:
    net = Net().eval()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=2)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (net(X) - Y).square().mean()
        loss.backward()
        return loss

    for _ in range(12):
        optimizer.step(closure)


@pytest.mark.parametrize(
    "loop",
    [
        frozen_batch_norm, body_in_eval_mode, body_called_by_itself, linear_probe, linear_probe_without_freezing,
        no_such_layers, batch_norm_without_statistics, a_teacher, an_image_is_optimized,
        attacked_in_eval_mode_trained_in_train_mode, validated_before_the_step, evaluating_for_a_few_steps,
        evaluating_for_the_first_few_steps, copies_fitted_at_test_time, dropout_chosen_by_hand, closure_of_lbfgs,
        one_of_two_on_purpose, one_of_two_has_learned_before, one_of_two_freezes_after_an_epoch, both_trained_again,
    ],
    ids=lambda loop: loop.__name__,
)  # fmt: skip
def test_it_is_silent_where_eval_mode_is_meant_or_does_nothing(loop: Callable[[], None]) -> None:
    """Parts in eval mode, frozen backbones, teachers, attacks, images, layers without a difference, a few steps."""
    assert told(loop) == []
