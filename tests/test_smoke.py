"""The hooks, the gradient states and GS101 to GS107, in seconds, on any torch from 2.4 on."""
from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

import gradscope
from gradscope.events import GradState, Point
from gradscope.hooks.dispatcher import DISPATCHER

pytestmark = pytest.mark.filterwarnings("ignore::gradscope.GradscopeWarning", "ignore::UserWarning")
ROWS = 24


class Net(nn.Module):
    """Two layers; `cut` puts a detach between them, `listed` a layer into a plain list."""

    def __init__(self, cut: bool = False, listed: bool = False) -> None:
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(6, 16), nn.Linear(16, 3), nn.Dropout(0.1)
        self.more = [nn.Linear(16, 16)] if listed else []
        self.cut = cut

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.first(inputs))
        for layer in self.more:
            found = torch.relu(layer(found))
        return self.last(self.drop(found.detach() if self.cut else found))  # type: ignore[no-any-return]


class Useless(torch.optim.Optimizer):
    """Its step makes new tensors, and leaves the parameters as they are."""

    def __init__(self, parameters: Any, lr: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter = parameter - group["lr"] * parameter.grad


def train(fault: str = "", watched: bool = True) -> tuple[Any, list[torch.Tensor]]:
    """One small training with this fault; the scope, and all that the training leaves behind."""
    torch.manual_seed(0)
    net = Net(fault == "GS102", fault == "GS103")
    made: Any = Useless if fault == "GS106" else torch.optim.SGD
    optimizer = made(net.parameters(), lr=0.05, momentum=0.9)
    scope = gradscope.watch(net, optimizer, every=1) if watched else None
    losses = []
    for _ in range(ROWS):
        inputs = torch.randn(16, 6)
        labels = inputs[:, :3].argmax(1)
        if fault not in ("GS101", "GS104"):
            optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(inputs), labels)
        loss = loss.detach().requires_grad_() if fault == "GS107" else loss
        loss.backward()
        if fault == "GS104":
            optimizer.zero_grad()
        if fault != "GS105":
            optimizer.step()
        losses.append(loss.detach())
    pickle.dumps(net)
    if scope is not None:
        scope.close()
    return scope, [*losses, *net.state_dict().values(), torch.get_rng_state()]


def test_a_healthy_loop_is_left_as_it_is() -> None:
    """Bit-identical, silent, every row measured; afterwards torch is as it was before."""
    _, bare = train(watched=False)  # with its first optimizer torch imports torch._dynamo, which replaces things itself
    before = _torch_as_it_is()
    scope, watched = train()
    assert before == _torch_as_it_is()
    assert all(torch.equal(one, other) for one, other in zip(bare, watched))
    assert [] == [f for f in scope.findings if f.severity != "info"]
    (optimizer,) = scope.record.optimizers
    assert ROWS == len(optimizer.measured) == scope.record.meta.rows
    assert ("first.weight", "first.bias", "last.weight", "last.bias") == tuple(p.name for p in optimizer.parameters)
    assert {} == dict(scope.record.meta.blind)


def _torch_as_it_is() -> list[Any]:
    looked: list[Any] = [torch.autograd.backward, torch.optim.Optimizer.zero_grad, torch.optim.Optimizer.__init__]
    looked += [nn.Module.zero_grad, nn.Module.__call__, nn.Module.eval, torch.manual_seed, nn.utils.clip_grad_norm_]
    tables = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks, torch_module._global_forward_hooks)
    return [*looked, *(len(table) for table in tables), DISPATCHER._listener]


@pytest.mark.parametrize("fault", ["GS101", "GS102", "GS103", "GS104", "GS105", "GS106", "GS107"])
def test_a_wiring_fault_is_found_first(fault: str) -> None:
    """It alone, as the one root cause."""
    scope, _ = train(fault)
    assert [fault] == [f.code for f in scope.findings if f.severity != "info" and f.caused_by is None]


def _cleared(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    optimizer.zero_grad()


def _zeroed(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    optimizer.zero_grad(set_to_none=False)


def _by_hand(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.grad = None


def _never(optimizer: torch.optim.Optimizer, net: nn.Module) -> None: ...


@pytest.mark.parametrize(
    ("clear", "backwards", "state", "after_clear"),
    [
        (_cleared, 1, GradState.FRESH, GradState.NONE),
        (_zeroed, 1, GradState.FRESH, GradState.ZERO),
        (_by_hand, 1, GradState.FRESH, None),
        (_cleared, 2, GradState.ACCUMULATED, GradState.NONE),
        (_never, 1, GradState.STALE, None),
    ],
)
def test_gradient_states(
    clear: Callable[..., None], backwards: int, state: GradState, after_clear: GradState | None
) -> None:
    """None, zero, fresh, accumulated or stale: what each way of clearing leaves, and what the step then uses."""
    net = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with gradscope.watch(net, optimizer, every=1) as scope:
        for _ in range(4):
            clear(optimizer, net)
            for _ in range(backwards):
                net(torch.randn(3, 4)).square().mean().backward()
            optimizer.step()
    seen = scope.record.optimizers[0]
    assert {state} == {GradState(int(s)) for s in seen.grad_state(Point.BEFORE_STEP)[1:].reshape(-1)}
    if after_clear is not None:
        assert {after_clear} == {GradState(int(s)) for s in seen.grad_state(Point.AFTER_ZERO_GRAD)[1:].reshape(-1)}


def test_a_scaler_a_closure_and_a_scheduler() -> None:
    """The loss is that before scaling; a closure's step is one row; a scheduler's step raises no warning."""
    net = nn.Linear(4, 2)
    scaled = torch.optim.SGD(net.parameters(), lr=0.01)
    closed = torch.optim.LBFGS(net.parameters(), lr=0.01, max_iter=3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scheduler = torch.optim.lr_scheduler.StepLR(scaled, 2)
    with gradscope.watch(net, [scaled, closed], every=1) as scope:
        for _ in range(4):
            scaled.zero_grad()
            loss = net(torch.ones(3, 4)).square().mean()
            scaler.scale(loss).backward()
            scaler.step(scaled)
            scaler.update()
            scheduler.step()
            assert scope.record.optimizers[0].scalars["loss"][-1] == pytest.approx(float(loss))

        def closure() -> torch.Tensor:
            closed.zero_grad()
            again = net(torch.ones(3, 4)).square().mean()
            again.backward()
            return again

        closed.step(closure)  # type: ignore[arg-type]
    assert 5 == scope.record.meta.rows
    assert [] == [f for f in scope.findings if f.severity != "info"]


def test_a_compiled_model() -> None:
    """As many graphs as without, every step seen, and what is not seen is said."""
    dynamo = pytest.importorskip("torch._dynamo")
    dynamo.reset()
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

    def step(inputs: torch.Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), torch.zeros(16, dtype=torch.long)).backward()
        optimizer.step()

    compiled = torch.compile(step, backend="eager")
    with gradscope.watch(net, optimizer) as scope:
        compiled(torch.randn(16, 6))
        graphs = dynamo.utils.counters["stats"]["unique_graphs"]
        for _ in range(7):
            compiled(torch.randn(16, 6))
    assert 8 == scope.record.meta.rows
    assert dynamo.utils.counters["stats"]["unique_graphs"] <= graphs + 1  # the momentum's first step
    assert "torch.compile" in scope.diagnose().skipped["module calls"]
    dynamo.reset()
