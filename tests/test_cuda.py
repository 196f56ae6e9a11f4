"""On a CUDA device: nothing changes, nobody waits, and what is wrong is found. Skipped where there is none."""
from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any, Callable, ContextManager, Iterator

import pytest
import torch
from torch import nn

import gradscope

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # these two are torch.compile's own
    pytest.mark.filterwarnings("ignore:TensorFloat32"),
]

Step = Callable[[], torch.Tensor]


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    yield
    torch.use_deterministic_algorithms(before)


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8 * 64, 10),
    )


def loop(kind: str, lr: float = 0.05) -> tuple[nn.Module, torch.optim.Optimizer, Step]:
    """A small CNN's training on made images: plain, with autocast, with GradScaler, compiled, or fused."""
    torch.manual_seed(0)
    net: nn.Module = cnn().cuda()
    images, labels = torch.randn(16, 32, 3, 8, 8, device="cuda"), torch.randint(10, (16, 32), device="cuda")
    images += labels[..., None, None, None] / 5
    made: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    if kind == "fused":
        made = torch.optim.AdamW(net.parameters(), lr=lr / 50, fused=True)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10, enabled=kind == "scaled")
    called = torch.compile(net) if kind == "compiled" else net
    at = 0

    def context() -> ContextManager[Any]:
        if kind in ("scaled", "autocast"):
            return torch.autocast("cuda", torch.float16 if kind == "scaled" else torch.bfloat16)
        return nullcontext()

    def step() -> torch.Tensor:
        nonlocal at
        at = (at + 1) % len(images)
        made.zero_grad()
        with context():
            loss = nn.functional.cross_entropy(called(images[at]), labels[at])
        scaler.scale(loss).backward()
        if kind == "scaled":
            scaler.unscale_(made)
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        scaler.step(made)
        scaler.update()
        return loss.detach()

    return net, made, step


KINDS = ("plain", "fused", "autocast", "scaled", "compiled")


def trained(kind: str, steps: int, watched: bool) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    net, made, step = loop(kind)
    with gradscope.watch(net, made, every=3) if watched else nullcontext():
        losses = [step() for _ in range(steps)]
    return losses, list(net.state_dict().values()), torch.cuda.get_rng_state()


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_to_the_bit(kind: str) -> None:
    """Losses, weights, buffers and the device's random numbers, with and without."""
    bare, watched = trained(kind, 150, False), trained(kind, 150, True)
    for one, other in zip((*bare[0], *bare[1], bare[2]), (*watched[0], *watched[1], watched[2])):
        assert torch.equal(one, other)


def waits(step: Step, steps: int) -> dict[int, int]:
    """How many synchronising operations each of these steps makes; those that make none are left out."""
    found: dict[int, int] = {}
    try:
        for number in range(steps):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                step()
                torch.cuda.set_sync_debug_mode("default")
            here = sum("synchroniz" in str(warning.message) for warning in told)
            if here:
                found[number] = here
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return found


def looked_at(row: int) -> bool:
    """The first rows, and those from each power of two on: what is looked at closely may be read at once."""
    return row < 32 or any(power <= row < power + 4 for power in (64, 128, 256))


@pytest.mark.parametrize("every", [None, 1, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_for_the_device(kind: str, every: int | None) -> None:
    """No step of the steady state waits for the device where the bare loop does not."""
    _, _, step = loop(kind)
    step()
    bare = waits(step, 20)
    net, made, step = loop(kind)
    with gradscope.watch(net, made, every=every):
        watched = waits(step, 400)
    added = {row: n - bare.get(19, 0) for row, n in watched.items() if not looked_at(row)}
    assert {row: n for row, n in added.items() if n > 0} == {}, (bare, watched)


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_loop_is_healthy(kind: str) -> None:
    """No error, no warning, and the losses and norms of all rows have arrived."""
    net, made, step = loop(kind)
    with gradscope.watch(net, made, every=1) as scope:
        for _ in range(200):
            step()
    assert [f.code for f in scope.findings if f.severity != "info"] == []
    (optimizer,) = scope.record.optimizers
    assert 200 == len(optimizer.rows) == len(optimizer.measured)
    assert torch.isfinite(torch.tensor(optimizer.scalars["loss"])).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::gradscope.GradscopeWarning")
def test_sick_loops_are_found(kind: str) -> None:
    """A missing zero_grad, a learning rate that is too high, a NaN in the weights."""

    def codes(lr: float, spoil: Callable[[torch.optim.Optimizer, nn.Module, int], None]) -> list[str]:
        net, made, step = loop(kind, lr)
        with gradscope.watch(net, made) as scope:
            for number in range(120):
                spoil(made, net, number)
                step()
        return [f.code for f in scope.findings if f.caused_by is None and f.severity != "info"]

    def forget(optimizer: torch.optim.Optimizer, net: nn.Module, number: int) -> None:
        optimizer.zero_grad = lambda *args, **kwargs: None  # type: ignore[method-assign]

    def poison(optimizer: torch.optim.Optimizer, net: nn.Module, number: int) -> None:
        if number == 60:
            with torch.no_grad():
                next(net.parameters()).view(-1)[0] = float("nan")

    assert "GS101" == codes(0.05, forget)[0]
    assert set(codes(0.05, poison)) & {"GS201", "GS401", "GS703"}
    assert set(codes(500.0, lambda *_: None)) & {"GS301", "GS703"}  # the scaler skips what is not finite


def test_a_default_device_is_no_trouble() -> None:
    """`torch.set_default_device("cuda")`: what gradscope makes for itself stays where it belongs."""
    with torch.device("cuda"):
        net, made, step = loop("plain")
        with gradscope.watch(net, made, every=1) as scope:
            for _ in range(40):
                step()
    assert 40 == len(scope.record.optimizers[0].measured)
    assert not scope.record.meta.notes and not scope.record.meta.blind
