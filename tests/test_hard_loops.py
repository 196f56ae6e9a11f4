"""Healthy loops that look odd: no error, no warning, measured at every step or hardly ever."""
from __future__ import annotations

import copy
from typing import Callable

import pytest
import torch
from torch import nn

import gradscope
from tests.records import NO_METRIC

X, Y = torch.linspace(-1, 1, 384).reshape(64, 6), torch.linspace(0, 1, 64).reshape(64, 1)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.01)


def loss_of(model: nn.Module) -> torch.Tensor:
    return (model(X) - Y).pow(2).mean()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 40) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()


def fisher_information_after_training() -> None:
    model = mlp()
    train(model, sgd(model))
    for _ in range(150):
        model.zero_grad()
        loss_of(model).backward()


def saliency_in_eval_mode() -> None:
    model = mlp().eval()
    optimizer = sgd(model)
    for _ in range(10):
        model.zero_grad()
        model(X).sum().backward()
    assert not optimizer.state, "made by habit, never stepped"


def gradients_of_microbatches_put_back_by_data() -> None:
    model = mlp()
    optimizer = sgd(model)
    for _ in range(40):
        sums = [torch.zeros_like(p) for p in model.parameters()]
        for part in range(4):
            model.zero_grad(set_to_none=False)
            (model(X[16 * part : 16 * part + 16])).pow(2).mean().backward()
            for total, parameter in zip(sums, model.parameters()):
                total += parameter.grad
        optimizer.zero_grad(set_to_none=False)
        for total, parameter in zip(sums, model.parameters()):
            parameter.grad.data.copy_(total / 4)
        optimizer.step()


def biases_of_a_loaded_model_only() -> None:
    model = mlp()
    model.load_state_dict(mlp().state_dict())
    train(model, torch.optim.Adam(p for name, p in model.named_parameters() if name.endswith("bias")))


def target_network_inside_the_agent() -> None:
    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online, self.target = mlp(), mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.online(x)

    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters())
    for step in range(60):
        train(agent, optimizer, 1)
        if step % 10 == 9:
            agent.target.load_state_dict(agent.online.state_dict())


def a_schedule_being_plotted() -> None:
    optimizer = sgd(mlp())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    for _ in range(10):
        optimizer.step()
        schedule.step()


def an_empty_batch_caught() -> None:
    model = mlp()
    optimizer = sgd(model)
    for step in range(30):
        optimizer.zero_grad()
        try:
            (torch.tensor(0.0) if step == 7 else loss_of(model)).backward()
        except RuntimeError:
            continue
        optimizer.step()


def a_model_and_an_optimizer_per_task() -> None:
    model = mlp()
    for _ in range(100):
        copied = copy.deepcopy(model)
        train(copied, sgd(copied), 2)


def a_frozen_critic_kept_in_a_list() -> None:
    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()
            self._critic = [nn.Linear(1, 4).eval()]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._critic[0](self.body(x)).mean(1, keepdim=True)

    model = Generator()
    train(model, torch.optim.Adam(model.parameters()))


LOOPS = [
    fisher_information_after_training,
    saliency_in_eval_mode,
    gradients_of_microbatches_put_back_by_data,
    biases_of_a_loaded_model_only,
    target_network_inside_the_agent,
    a_schedule_being_plotted,
    an_empty_batch_caught,
    a_model_and_an_optimizer_per_task,
    a_frozen_critic_kept_in_a_list,
]


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("every", [1, 1000, None])
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_a_healthy_loop_is_told_no_error_and_no_warning(loop: Callable[[], None], every: int | None) -> None:
    """Info is allowed; whatever counts against the run is a false alarm."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with gradscope.watch(every=every) as scope:
            loop()
    assert [(f.code, f.text) for f in scope.findings if f.severity != "info"] == []
    assert scope.diagnose().skipped == NO_METRIC
