"""The first NaN is traced to the operation that made it, by what the live graph has saved; or it is said what is known.

Each origin is planted at one step of a small loop that is healthy otherwise.
"""
from __future__ import annotations

import warnings
from typing import Any, Callable

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.facts.fact import newest_of
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.hooks import values as room
from gradscope.hooks.birth import birth
from gradscope.hooks.values import Values

pytestmark = [
    pytest.mark.filterwarnings("ignore::gradscope.GradscopeWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.cpu.amp.autocast.*:FutureWarning"),  # torch 2.4's checkpoint
]
NAN, INF = float("nan"), float("inf")
Forward = Callable[[torch.Tensor, bool], torch.Tensor]


class Block(nn.Module):
    """The operation under test, between two layers of a model, one level down."""

    def __init__(self, operation: Forward) -> None:
        super().__init__()
        self.inner, self.operation = nn.Linear(6, 6), operation

    def forward(self, x: torch.Tensor, sick: bool) -> torch.Tensor:
        return self.operation(self.inner(x), sick)


class Net(nn.Module):
    def __init__(self, operation: Forward) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(4, 6), Block(operation), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor, sick: bool) -> torch.Tensor:
        return self.head(self.block(self.stem(x), sick))


def watched(
    operation: Forward = lambda h, sick: h,
    at: int = 3,
    loss_of: Forward = lambda y, sick: y.pow(2).mean(),
    change: Callable[[torch.Tensor, torch.optim.Optimizer], Any] = lambda x, optimizer: None,
    **settings: Any,
) -> gradscope.Scope:
    """A loop of a few steps of linear layers.

    At step `at` the operation is sick, and `change` may spoil the batch or the optimizer.
    """
    torch.manual_seed(0)
    model = Net(operation)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with gradscope.watch(ignore=["GS506"], **settings) as scope:
        for step in range(at + 4):
            x = torch.randn(5, 4)
            if step == at:
                change(x, optimizer)
            optimizer.zero_grad()
            loss = loss_of(model(x, step == at), step == at)
            loss.backward()
            optimizer.step()
    return scope


def origin(scope: gradscope.Scope) -> LossOrigin:
    (fact,) = newest_of(scope.record.facts.of(LossOrigin))
    return fact


def texts(scope: gradscope.Scope) -> dict[str, str]:
    return {finding.code: finding.text for finding in scope.findings}


MASK = torch.zeros(5, 6, dtype=torch.bool)
MASK[2] = True
OPERATIONS: dict[str, tuple[Forward, str, str]] = {
    "log of 0": (lambda h, sick: (h * 0).log() if sick else h, "log", "log of 0 (30 of 30 values)"),
    "log of less": (lambda h, sick: (h - 100).log() if sick else h, "log", "log of a negative number (30 of 30 values"),
    "0 / 0": (lambda h, sick: (h * 0) / (h * 0).sum(1, keepdim=True) if sick else h, "division", "0 / 0 (5 of 5"),
    "1 / 0": (lambda h, sick: 1 / (h * 0) if sick else h, "reciprocal", "a division by 0 (30 of 30 values)"),
    "normalized": (lambda h, sick: h / (h * 0).norm(dim=1, keepdim=True) if sick else h, "division", "by 0 (5 of 5"),
    "sqrt of less": (lambda h, sick: (h * h - 100 * h * h).sqrt() if sick else h, "sqrt", "sqrt of a negative number"),
    "exp": (lambda h, sick: (h.abs() * 1e4).exp() if sick else h, "exp", "float32 ends at 88.7"),
    "vae": (lambda h, sick: 1 + h - (1e4 * h).exp() if sick else h, "exp", "exp overflows"),
    "power": (lambda h, sick: (h - 9).pow(0.5) if sick else h, "pow", "a negative number to the power of 0.5"),
    "power of 0": (lambda h, sick: (h * 0) ** -2 if sick else h, "pow", "0 to the power of -2"),
    "too large": (lambda h, sick: (h * 1e25) ** 2 if sick else h, "pow", "pow overflows"),
    "acos": (lambda h, sick: (h * 50).acos() if sick else h, "acos", "acos of values beyond 1"),
    "mean of nothing": (lambda h, sick: h + h[:0].mean() if sick else h, "mean", "the mean of nothing"),
    "masked rows": (
        lambda h, sick: h.masked_fill(MASK, -INF).softmax(1) if sick else h,
        "softmax",
        "softmax over a row that its mask leaves nothing of (1 of 5 rows)",
    ),
    "masked by adding": (
        lambda h, sick: ((h + torch.zeros(5, 6).masked_fill(MASK, -INF)) / 2).softmax(1) if sick else h,
        "softmax",
        "leaves nothing of (1 of 5 rows)",
    ),
    "masked log-softmax": (
        lambda h, sick: h.masked_fill(MASK, -INF).log_softmax(1).exp() if sick else h,
        "log_softmax",
        "leaves nothing of (1 of 5 rows)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("at", [0, 3, 40], ids=["first row", "early row", "steady row"])
def test_the_operation_is_named(name: str, at: int) -> None:
    """In a nested module, with what was special in its input, and the layers around: at the first bad step."""
    operation, written, what = OPERATIONS[name]
    fact = origin(watched(operation, at))
    assert ("operation", at, (written,)) == (fact.kind, fact.row, fact.operations)
    assert what in fact.what
    assert ("block.inner.weight", "head.weight") == (fact.before, fact.after)


def test_the_sentence_of_gs201() -> None:
    """What, how often, between which layers; and what to do about it."""
    scope = watched(OPERATIONS["log of 0"][0])
    (finding,) = scope.findings
    assert finding.text.endswith("Where it began: log of 0 (30 of 30 values), between block.inner and head")
    assert "clamp_min" in finding.advice[0].text
    assert ("log",) == finding.evidence["operations"]


def test_in_the_loop_outside_of_any_module() -> None:
    """The loss is computed by hand: after the last layer, on the way to the loss."""
    scope = watched(loss_of=lambda y, sick: -(y * 0).softmax(1).sub(0.5).log().mean() if sick else y.pow(2).mean())
    fact = origin(scope)
    assert ("operation", ("log",)) == (fact.kind, fact.operations)
    assert "after head, on the way to the loss" in texts(scope)["GS201"]


def test_intended_infinities_are_no_origin() -> None:
    """-inf under a mask is on purpose: what is named is the log, further on."""

    def operation(h: torch.Tensor, sick: bool) -> torch.Tensor:
        mask = torch.zeros(5, 6, dtype=torch.bool)
        mask[:, 0] = True
        weights = h.masked_fill(mask, -INF).softmax(1)
        return weights.log() if sick else weights

    fact = origin(watched(operation))
    assert ("log",) == fact.operations


def test_what_is_masked_out_before_the_loss_is_no_origin() -> None:
    """NaN in a branch that torch.where does not take, and a log of 0 in the one it takes."""

    def operation(h: torch.Tensor, sick: bool) -> torch.Tensor:
        with_nan = torch.where(h > INF, (h - 1e9).sqrt(), h)
        return (with_nan * 0).log() if sick else h

    assert ("log",) == origin(watched(operation)).operations


def test_in_multihead_attention() -> None:
    """A sequence that is padding throughout: its scores are all -inf."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"embedding": nn.Embedding(9, 8), "attention": nn.MultiheadAttention(8, 2, batch_first=True)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch(model, optimizer) as scope:
        for step in range(8):
            x = model["embedding"](torch.randint(9, (3, 4)))
            padding = torch.zeros(3, 4, dtype=torch.bool)
            padding[1] = step >= 4
            optimizer.zero_grad()
            model["attention"](x, x, x, key_padding_mask=padding)[0].pow(2).mean().backward()
            optimizer.step()
    fact = origin(scope)
    assert (4, ("softmax",)) == (fact.row, fact.operations)
    assert "(8 of 24 rows)" in fact.what
    assert "inside attention" in texts(scope)["GS201"] or "attention.in_proj" in fact.before


def test_around_an_lstm() -> None:
    """What comes out of a recurrent layer is between -1 and 1: its log is not to be had."""
    torch.manual_seed(0)
    lstm, head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([*lstm.parameters(), *head.parameters()], lr=0.01)
    with gradscope.watch() as scope:
        for step in range(6):
            outputs = lstm(torch.randn(2, 5, 3))[0]
            optimizer.zero_grad()
            head((outputs - 1).log() if step == 2 else outputs).pow(2).mean().backward()
            optimizer.step()
    fact = origin(scope)
    assert (2, ("log",)) == (fact.row, fact.operations)
    assert "lstm" in fact.before and "head" in fact.after


# -- the batch --------------------------------------------------------------------------------------------------------


def test_nan_in_the_batch_is_gs605() -> None:
    """The input, by the name the loop gives it; one feature of one sample."""

    def spoil(x: torch.Tensor, optimizer: Any) -> None:
        x[3, 1] = NAN

    scope = watched(change=spoil, at=12)
    fact = origin(scope)
    assert ("constant", "input", "x", 1, 5) == (fact.kind, fact.role, fact.variable, fact.samples, fact.batch)
    assert [("GS605", None), ("GS201", "GS605")] == [(f.code, f.caused_by) for f in scope.findings]
    assert "the input `x` of linear (1 NaN of 20 values, in 1 of 5 samples), in stem" in texts(scope)["GS605"]


def test_nan_in_a_batch_that_asks_for_its_own_gradient() -> None:
    """A leaf, but no parameter."""

    def spoil(x: torch.Tensor, optimizer: Any) -> None:
        x[3, 1] = NAN
        x.requires_grad_()

    fact = origin(watched(change=spoil))
    assert ("constant", "input", 1) == (fact.kind, fact.role, fact.samples)


def test_a_running_maximum_begins_at_minus_infinity() -> None:
    """A constant that is infinite on purpose, before an operation that is sick."""

    def operation(h: torch.Tensor, sick: bool) -> torch.Tensor:
        highest = torch.maximum(h, torch.full((5, 6), -INF)).neg()
        return (highest * 0).log() if sick else highest

    assert ("operation", ("log",)) == (origin(watched(operation)).kind, origin(watched(operation)).operations)


@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_values_in_the_batch_are_gs605(sign: int) -> None:
    """What a layer makes of them is infinite both ways, and no mask."""

    def spoil(x: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        x[2, 1] = sign * INF

    scope = watched(lambda h, sick: h.relu(), change=spoil, at=12)
    fact = origin(scope)
    assert ("constant", "input", "x", 1, 5) == (fact.kind, fact.role, fact.variable, fact.samples, fact.batch)
    assert [("GS605", None), ("GS201", "GS605")] == [(f.code, f.caused_by) for f in scope.findings]


@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_values_that_the_loss_does_not_show_are_gs605(sign: int) -> None:
    """tanh of them is 1 or -1; the gradients of the layer before are NaN."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with gradscope.watch(ignore=["GS506"]) as scope:
        for step in range(8):
            x = torch.randn(5, 4)
            if step == 2:
                x[2, 1] = sign * INF
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()
    assert ["GS605", "GS401", "GS201"] == [f.code for f in scope.findings]
    assert [None, "GS605", "GS605"] == [f.caused_by for f in scope.findings]
    (fact,) = [fact for fact in newest_of(scope.record.facts.of(LossOrigin)) if fact.of_gradient]
    assert (2, "x", 1, 5, "0.weight") == (fact.row, fact.variable, fact.samples, fact.batch, fact.inside)


def test_a_feature_that_is_broken_in_each_sample() -> None:
    """A constant column divided by its standard deviation."""

    def spoil(x: torch.Tensor, optimizer: Any) -> None:
        x[:, 2] = NAN

    scope = watched(change=spoil)
    assert "in 5 of 5 samples: feature 2" in texts(scope)["GS605"]
    assert "in every sample" in scope.findings[0].advice[0].text


@pytest.mark.parametrize("by_hand", [False, True])
def test_nan_in_the_target(by_hand: bool) -> None:
    """Of torch's loss, which saves it, and of one written by hand, whose subtraction does not."""

    def loss_of(y: torch.Tensor, sick: bool) -> torch.Tensor:
        target = torch.zeros(5, 2)
        if sick:
            target[0, 1] = NAN
        return (y - target).pow(2).mean() if by_hand else nn.functional.mse_loss(y, target)

    fact = origin(watched(loss_of=loss_of))
    assert ("constant", "target") == (fact.kind, fact.role)


def test_nan_that_the_loop_masks_out_is_nobodys_business() -> None:
    """Missing targets, left out before the mean."""

    def loss_of(y: torch.Tensor, sick: bool) -> torch.Tensor:
        target = torch.zeros(5, 2)
        target[0] = NAN
        known = torch.isfinite(target)
        return (y[known] - target[known]).pow(2).mean()

    scope = watched(loss_of=loss_of)
    assert () == scope.findings
    assert not scope.record.facts.of(LossOrigin)


def test_nan_that_is_masked_out_too_late_is_in_the_gradients() -> None:
    """After the square its derivative is 0 * NaN: the loss is finite, the gradients are not."""

    def loss_of(y: torch.Tensor, sick: bool) -> torch.Tensor:
        target = torch.zeros(5, 2)
        target[0] = NAN
        return (y - target).pow(2)[torch.isfinite(target)].mean()

    scope = watched(loss_of=loss_of)
    assert ["GS401", "GS201"] == [f.code for f in scope.findings]


# -- the parameters ---------------------------------------------------------------------------------------------------


def test_an_infinite_lr() -> None:
    """The step before had it: no operation is to blame."""

    def spoil(x: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.param_groups[0]["lr"] = INF

    scope = watched(change=spoil)
    fact = origin(scope)
    assert (4, "parameter", "lr", 6, 6) == (fact.row, fact.kind, fact.cause, fact.count, fact.of)
    assert "the step before had lr inf" in texts(scope)["GS201"]
    assert "GS401" not in texts(scope)


def test_weights_that_were_loaded_so() -> None:
    """No step has been made yet."""
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight[0, 1] = NAN
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch() as scope:
        for _ in range(3):
            model(torch.randn(4, 3)).pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert ("parameter", "start", ("weight",)) == (origin(scope).kind, origin(scope).cause, origin(scope).parameters)


# -- what cannot be known ---------------------------------------------------------------------------------------------


def test_activation_checkpointing_is_not_computed_again() -> None:
    """The nearest span is named, and why it is no more than that."""
    calls = []

    def inner(h: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return (h - 100).sqrt()

    scope = watched(lambda h, sick: checkpoint(inner, h, use_reentrant=False) if sick else h)
    fact = origin(scope)
    assert ("between", "hooks") == (fact.kind, fact.why)
    assert "sqrt" in fact.operations and "log" not in fact.operations
    assert "activation checkpointing" in texts(scope)["GS201"]
    assert 2 == len(calls), "once by the loop, once by its backward"


def test_what_was_changed_in_place_is_not_believed() -> None:
    """Torch's backward refuses such a graph, too; until then no claim is made of values that are gone."""
    weight = torch.full((3,), -1.0, requires_grad=True)
    zero = weight.sigmoid().round()
    lost = zero.log()
    zero.add_(5)
    loss = (zero + lost - lost).sum()
    born = birth(Values([loss]), [loss])
    assert ("between", "changed") == (born.kind, born.why)
    assert "LogBackward0" in [type(node).__name__ for node in born.span]


def test_a_function_written_in_python_has_its_own_name() -> None:
    """Nothing is known of what it does but its name."""

    class Strange(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.log()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient

    fact = origin(watched(lambda h, sick: Strange.apply(h - 100) if sick else h))
    assert "Strange" in fact.operations


def test_a_graph_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk ends there: nothing is claimed of what lies behind."""
    monkeypatch.setattr(room, "MAX_NODES", 10)
    x = torch.randn(3, requires_grad=True)
    loss = (x * 0).log()
    for _ in range(50):
        loss = loss + 1
    loss = loss.sum()
    values = Values([loss])
    assert not values.complete and 10 == len(values.nodes)
    assert birth(values, [loss]).kind != "operation"


def test_several_roots_and_results_that_are_no_scalars() -> None:
    """The walk does not mind."""
    x = torch.randn(3, 2, requires_grad=True)
    roots = [x.exp(), (x * 0).log() * 2]
    born = birth(Values(roots), roots)
    assert ("operation", "LogBackward0") == (born.kind, type(born.node).__name__)


def test_looks_are_few() -> None:
    """A loop that lives with NaN losses is not looked at each time."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch() as scope:
        for step in range(60):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 3)).pow(2)
            (loss[:0] if step % 3 == 0 else loss).mean().backward()
            optimizer.step()
    assert 4 == len(newest_of(scope.record.facts.of(LossOrigin)))
    assert all(f.severity == "info" for f in scope.findings)


# -- gradients --------------------------------------------------------------------------------------------------------

AGAIN: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [
    lambda a, b: a.log(), lambda a, b: a.sqrt(), lambda a, b: a.exp(), lambda a, b: a.t(), lambda a, b: a.rsqrt(),
    lambda a, b: a + b, lambda a, b: torch.add(a, b, alpha=3), lambda a, b: torch.sub(a, b, alpha=0.5),
    lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a / 7, lambda a, b: a**2.5, lambda a, b: a**b,
    lambda a, b: a @ b.t(), lambda a, b: torch.bmm(a[None], b.t()[None]), lambda a, b: a @ b[0],
    lambda a, b: torch.addmm(b[0, :4], a, b.t(), beta=0.5, alpha=2), lambda a, b: a.sum(), lambda a, b: a.sum(-1),
    lambda a, b: a.mean((0, 1), keepdim=True), lambda a, b: a.mean(), lambda a, b: a.transpose(-1, 0),
    lambda a, b: a[None].permute(2, 0, 1), lambda a, b: a.unsqueeze(-1), lambda a, b: a.select(-1, 2),
    lambda a, b: a.softmax(-1), lambda a, b: a.log_softmax(0), lambda a, b: a.logsumexp(1),
    lambda a, b: nn.functional.softplus(a, 2.0), lambda a, b: a[:, 1:5:2], lambda a, b: a.chunk(3, -1)[1],
    lambda a, b: a.split([1, 5], 1)[1], lambda a, b: a.unbind(-1)[2], lambda a, b: a.view(3, 8),
    lambda a, b: a[:, None].expand(4, 2, 6), lambda a, b: a.half(), lambda a, b: a[0].dot(b[0]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(AGAIN)))
def test_what_is_computed_again_is_what_was_computed(number: int) -> None:
    """Of an operation that has not kept its result, from what it got."""
    a, b = (torch.rand(4, 6).add(0.5).requires_grad_() for _ in range(2))
    made = AGAIN[number](a * 1, b * 1)
    values = Values([made.double().sum()])
    values._known = {key: value for key, value in values._known.items() if key[0] is not made.grad_fn}
    computed = values.value(made.grad_fn, made.output_nr)
    if computed is None and not hasattr(made.grad_fn, "_input_metadata"):
        pytest.skip("this torch does not tell the shape of results")
    assert computed is not None and computed.dtype == made.dtype
    assert torch.allclose(made, computed)


def much(sick: bool) -> float:
    return 0.0 if sick else 1.0


BACKWARD_ONLY: dict[str, tuple[Forward, str]] = {
    "sqrt": (lambda h, sick: h + (much(sick) * h).pow(2).sum(1, keepdim=True).sqrt(), "sqrt at 0"),
    "power": (lambda h, sick: h + (much(sick) * h).abs().pow(0.5), "a fractional power at 0"),
    "acos": (lambda h, sick: h + (h.sigmoid() * much(sick) + 1 - much(sick)).acos(), "acos at 1 or -1"),
    "where": (
        lambda h, sick: torch.where(torch.tensor(not sick), (h.sigmoid() * much(sick)).log(), h), "log near 0"
    ),
    "division": (lambda h, sick: h + 1e-3 * (1e-25 / (h.sigmoid() * much(sick) + 1e-30)).clamp(max=1), "near 0"),
}


@pytest.mark.parametrize("name", BACKWARD_ONLY)
@pytest.mark.parametrize("at", [3, 40], ids=["measured row", "steady row"])
def test_gradients_of_a_finite_loss(name: str, at: int) -> None:
    """What stands before the operation has no finite gradient, what comes after has: it was born between."""
    operation, words = BACKWARD_ONLY[name]
    scope = watched(operation, at)
    fact = newest_of(scope.record.facts.of(GradientOrigin))[0]
    assert ((0,), 4, 6, at == 40) == (fact.optimizers, fact.count, fact.of, fact.late)
    assert {"stem.weight", "stem.bias", "block.inner.weight", "block.inner.bias"} == set(fact.parameters)
    assert any(words in word for word in fact.singular)
    assert ("block.inner.weight", "head.weight") == (fact.before, fact.after)
    assert ["GS401", "GS201"] == [f.code for f in scope.findings]
    assert (at, "GS401") == (scope.findings[0].steps[0], scope.findings[1].caused_by)


def test_torch_norm_at_0_is_no_origin() -> None:
    """torch gives its derivative there as 0."""
    scope = watched(lambda h, sick: h + (h * 0).norm(dim=1, keepdim=True) if sick else h)
    assert () == scope.findings


def test_a_step_that_the_loop_leaves_out_is_healthy() -> None:
    """A guard against gradients that are not finite."""
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch() as scope:
        for step in range(30):
            optimizer.zero_grad()
            y = model(torch.randn(4, 3))
            (y.pow(2).mean() + ((y * 0).pow(2).sum().sqrt() if step % 10 == 2 else 0)).backward()
            if all(torch.isfinite(p.grad).all() for p in model.parameters()):
                optimizer.step()
    assert () == scope.findings


def test_steps_that_grad_scaler_skips_are_healthy() -> None:
    """Infinite gradients are how it finds its scale."""
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    with warnings.catch_warnings(), gradscope.watch() as scope:
        warnings.simplefilter("ignore")
        for _ in range(30):
            optimizer.zero_grad()
            scaler.scale((model(torch.randn(4, 3)) * 100).pow(2).mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert [] == [f for f in scope.findings if f.severity != "info"]


def test_huge_gradients_are_not_infinite() -> None:
    """Their norm is: the squares do not fit into float32."""
    scope = watched(loss_of=lambda y, sick: y.pow(2).mean() * (1e25 if sick else 1))
    assert not scope.record.facts.of(GradientOrigin)
