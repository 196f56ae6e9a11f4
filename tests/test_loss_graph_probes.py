"""What the probes of GS404, GS503, GS504 and GS506 read from live graphs, and what they must not take for a mistake."""
from __future__ import annotations

import gc
import weakref
from typing import Any, Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.facts.operations import BlockedGradient, LossBroadcast, NormalizedOutput, StackedLinear
from gradscope.hooks.graph import survey
from gradscope.probes.blocked_gradient import blocked
from gradscope.probes.constant_guess import constant_guess
from gradscope.probes.loss_broadcast import crossings
from gradscope.probes.loss_function import loss_function
from gradscope.probes.normalized_output import misfit
from gradscope.probes.stacked_linear import pairs

# torch warns of shapes that differ, in some losses
pytestmark = pytest.mark.filterwarnings("ignore:Using a target size", "ignore:.*autocast:FutureWarning")
Tensor = torch.Tensor
TELLS_SHAPES = hasattr(torch.ones(1, requires_grad=True).exp().grad_fn, "_input_metadata")
X, LABELS = torch.linspace(-2, 2, 32).reshape(8, 4), torch.arange(8) % 3


@pytest.fixture(autouse=True)
def seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def logits() -> Tensor:
    return nn.Linear(4, 3)(X)


def nodes_of(loss: Tensor) -> frozenset[Any]:
    return survey([loss]).nodes


# -- what a loss is given ----------------------------------------------------------------------------------------------


def misfits(loss: Tensor) -> set[tuple[str, str]]:
    return {found[:2] for node in nodes_of(loss) if (found := misfit(node)) is not None}


@pytest.mark.parametrize(
    "loss, expected",
    [
        (lambda z: F.cross_entropy(torch.softmax(z, 1), LABELS), ("softmax", "cross-entropy")),
        (lambda z: F.cross_entropy(torch.softmax(z, 1).view(4, 2, 3).flatten(0, 1), LABELS),
         ("softmax", "cross-entropy")),
        (lambda z: F.cross_entropy(torch.softmax(z[:, None], 2).squeeze(1), LABELS), ("softmax", "cross-entropy")),
        (lambda z: F.cross_entropy(torch.softmax(z, 1), torch.softmax(z.detach(), 1)), ("softmax", "cross-entropy")),
        (lambda z: F.cross_entropy(torch.sigmoid(z), LABELS), ("sigmoid", "cross-entropy")),
        (lambda z: F.cross_entropy(torch.log_softmax(z, 1), LABELS), ("log-softmax", "cross-entropy")),
        (lambda z: F.cross_entropy(torch.softmax(z, 1).log(), LABELS), ("log-softmax", "cross-entropy")),
        (lambda z: F.binary_cross_entropy_with_logits(torch.sigmoid(z)[:, 0], X[:, 0]), ("sigmoid", "bce-with-logits")),
        (lambda z: F.nll_loss(z, LABELS), ("logits", "nll")),
        (lambda z: F.nll_loss(torch.softmax(z, 1), LABELS), ("softmax", "nll")),
    ],
)  # fmt: skip
def test_what_a_loss_does_not_take(loss: Callable[[Tensor], Tensor], expected: tuple[str, str]) -> None:
    """Straight, reshaped, or by indexing."""
    assert {expected} == misfits(loss(logits()))


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.cross_entropy(z, LABELS),
        lambda z: F.cross_entropy(30 * torch.softmax(z, 1), LABELS),
        lambda z: F.cross_entropy(torch.softmax(z, 1) @ torch.ones(3, 3), LABELS),
        lambda z: F.cross_entropy(torch.softmax(z @ z.t(), 0), torch.arange(8)),  # the other side of a matching
        lambda z: F.kl_div(torch.log_softmax(z / 2, 1), torch.softmax(z.detach(), 1), reduction="batchmean"),
        lambda z: F.nll_loss(torch.log_softmax(z, 1), LABELS),
        lambda z: F.nll_loss(torch.log(torch.softmax(z, 1)), LABELS),
        lambda z: F.nll_loss(-0.5 * z.square() + 3, LABELS),  # log densities
        lambda z: F.nll_loss(torch.logsumexp(z[..., None], -1), LABELS),
        lambda z: F.binary_cross_entropy_with_logits(4 * torch.sigmoid(z) - 2, (z > 0).float()),
        lambda z: F.binary_cross_entropy(torch.sigmoid(z), (z > 0).float()),
    ],
)
def test_what_a_loss_takes(loss: Callable[[Tensor], Tensor]) -> None:
    """A scale, a mixture or a logarithm in between is meant; so are log densities."""
    assert set() == misfits(loss(logits()))


def test_a_layer_that_hands_on_log_probabilities() -> None:
    """Its numbers tell: exp of each row sums up to 1."""
    layer = nn.Linear(3, 3, bias=False)
    nn.init.eye_(layer.weight)
    assert set() == misfits(F.nll_loss(layer(torch.log_softmax(X[:, :3], 1)), LABELS))


# -- shapes that cross -------------------------------------------------------------------------------------------------


def column() -> Tensor:
    return nn.Linear(4, 1)(X)


Y = X[:, 0].clone()


@pytest.mark.parametrize(
    "loss, name, prediction",
    [
        (lambda p: F.mse_loss(p, Y), "mse", (8, 1)),
        (lambda p: F.mse_loss(p.squeeze(), Y[:, None]), "mse", (8,)),
        (lambda p: F.mse_loss(p, Y, reduction="none").mean(), "mse", (8, 1)),
        (lambda p: F.smooth_l1_loss(p, Y), "smooth-l1", (8, 1)),
        (lambda p: F.huber_loss(p, Y, reduction="sum"), "huber", (8, 1)),
        (lambda p: F.l1_loss(p, Y), "by-hand", (8, 1)),
        (lambda p: ((p - Y) ** 2).mean(), "by-hand", (8, 1)),
        (lambda p: (Y - p).abs().sum() / 8, "by-hand", (8, 1)),
        (lambda p: torch.sqrt((Y[:, None] - p[:, 0]).square().mean()), "by-hand", (8,)),
        (lambda p: -(F.logsigmoid(p)[:, 0] * Y[:, None]).mean(), "product", (8,)),
        (lambda p: F.mse_loss(p[:, :, None, None].expand(8, 1, 2, 2) * 1, Y[:, None, None].expand(8, 2, 2)), "mse",
         (8, 1, 2, 2)),
    ],
)  # fmt: skip
def test_shapes_that_cross(loss: Callable[[Tensor], Tensor], name: str, prediction: tuple[int, ...]) -> None:
    """(N, 1) beside (N,), either way round, in torch's losses and in those written out."""
    if name in ("by-hand", "product") and not TELLS_SHAPES:
        pytest.skip("torch 2.4 does not tell the shapes that operations make")
    [found] = crossings(nodes_of(loss(column())))
    assert (name, prediction) == (found.loss, found.prediction)
    assert found.proof is None or found.proof.item() < 1e-5


@pytest.mark.parametrize(
    "loss",
    [
        lambda p: F.mse_loss(p[:, 0], Y),
        lambda p: F.mse_loss(p, Y[:, None]),
        lambda p: F.mse_loss(p, X),  # one prediction for four targets
        lambda p: F.mse_loss(p[:1], Y[:1]),
        lambda p: F.mse_loss(p, Y[:1]),
        lambda p: (p[:, 0][:, None] - Y[None, :]).square().mean(),
        lambda p: (p[:, 0].unsqueeze(1) - p[:, 0].unsqueeze(0)).square().mean(),
        lambda p: ((p - p.t()) - (Y[:, None] - Y)).square().mean(),
        lambda p: (p - p.t()).square().mean(),
        lambda p: torch.exp(-((p - Y) ** 2)).mean(),
        lambda p: ((p - Y) ** 2).mean(1).min(),
        lambda p: (p * Y[:, None]).mean(),
        lambda p: (p * torch.ones(8, 8)).mean(),
    ],
)
def test_shapes_that_are_meant(loss: Callable[[Tensor], Tensor]) -> None:
    """One side stretched, all pairs asked for, a batch of one, something else than an average of all pairs."""
    assert [] == crossings(nodes_of(loss(column())))


@pytest.mark.skipif(not TELLS_SHAPES, reason="torch 2.4 does not tell the shapes that operations make")
def test_a_column_beside_a_matrix_is_no_crossing() -> None:
    """Written out, the shapes alone do not tell (8, 1) beside (8, 8) from beside (8,): the differences do."""
    [found] = crossings(nodes_of(((column() - torch.randn(8, 8)) ** 2).mean()))
    assert found.proof is not None and found.proof.item() > 0.1


# -- linear into linear ------------------------------------------------------------------------------------------------


def pairs_of(model: nn.Module, inputs: Tensor = X) -> list[tuple[str, str, bool, bool]]:
    names = {id(p): name for name, p in model.named_parameters()}
    found = pairs(nodes_of(model(inputs).square().sum()))
    return sorted((names[id(p.first)], names[id(p.second)], p.narrow, p.whole) for p in found)


def test_linear_into_linear() -> None:
    """Of a batch of vectors or of sequences; narrow, whole."""
    two = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    assert [("0.weight", "1.weight", False, True)] == pairs_of(two) == pairs_of(two, X.reshape(2, 4, 4))
    assert [("0.weight", "1.weight", True, True)] == pairs_of(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3)))
    some = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
    assert [("0.weight", "1.weight", False, False)] == pairs_of(some)
    images = X.reshape(2, 1, 4, 4)
    convs = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(48, 2))
    assert [True, True] == [whole for *_, whole in pairs_of(convs, images)]


def dropped(x: Tensor) -> Tensor:
    """As torch does it on the CPU, of a random state that the test has seeded."""
    return F.dropout(x, 0.3)


@pytest.mark.parametrize(
    "between, whole",
    [
        (dropped, True),
        (lambda x: F.dropout(F.dropout(x, 0.5), 0.1), True),
        (lambda x: x * (x > 0), False),  # a ReLU written by hand
        (lambda x: x * (x > 0).float() * 0.5, False),
        (lambda x: x * torch.rand(8, 64), False),
        (lambda x: F.dropout(torch.relu(x), 0.3), False),
        (lambda x: x * (1.0 + (x > -0.4)), False),
    ],
)
def test_dropout_is_linear(between: Callable[[Tensor], Tensor], whole: bool) -> None:
    """Its mask is told from a ReLU's by the values in it, and their share."""
    one, two = nn.Linear(4, 64), nn.Linear(64, 3)
    found = list(pairs(nodes_of(two(between(one(X))).square().sum())))
    assert [("Dropout", True)] * whole == [(pair.between, pair.whole) for pair in found]


class Twice(nn.Module):
    """`how` makes the output of two linear layers and the input."""

    def __init__(self, how: Callable[[nn.Module, nn.Module, Tensor], Tensor], size: int = 4) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Linear(4, size), nn.Linear(size, 4), how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.a, self.b, x)


@pytest.mark.parametrize(
    "how",
    [
        lambda a, b, x: b(torch.relu(a(x))),
        lambda a, b, x: torch.cat([b(torch.tanh(hidden := a(x))), hidden], 1),
        lambda a, b, x: b(a(x) + torch.sin(x)),
        lambda a, b, x: b(a(x) + (torch.round(a(x)) - a(x)).detach()),
        lambda a, b, x: b((a(x) @ x.t()).softmax(1) @ x),
    ],
)
def test_what_is_not_linear_into_linear(how: Callable[..., Tensor]) -> None:
    """Something between them, constants that may be made of the same values, attention."""
    assert [] == pairs_of(Twice(how))


def test_an_output_that_is_used_by_itself_too() -> None:
    """A projection whose output is asked for."""
    hidden = Twice(lambda a, b, x: torch.cat([torch.relu(b(z := a(x))), z], 1))
    nonlinear = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), hidden)
    assert [] == pairs_of(nonlinear)
    assert [] == pairs_of(nn.Sequential(nn.Linear(4, 3)))


def test_grouped_convolutions_are_no_pair() -> None:
    """Depthwise, then pointwise."""
    separable = [nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1)]
    assert [] == pairs_of(nn.Sequential(nn.Unflatten(1, (4, 1, 1)), *separable))


# -- operations without a slope ----------------------------------------------------------------------------------------


class Round(torch.autograd.Function):
    """One's own, with a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def blocked_by(how: Callable[..., Tensor]) -> list[str]:
    """The operations; those that are proved by numbers only where the proof holds."""
    model = Twice(how)
    loss = model(X).square().sum()
    graph = survey([loss])
    found = blocked([loss.grad_fn], graph.nodes, graph.leaves)
    loss.backward()
    zero = model.a.weight.grad is None or not model.a.weight.grad.any()
    names = [name for name, _, proof in found if proof is None or proof.item() == 1]
    assert zero == bool(names), "what torch computes"
    return names


@pytest.mark.parametrize(
    "how, expected",
    [
        (lambda a, b, x: b(torch.round(a(x))), ["round"]),
        (lambda a, b, x: b(torch.sign(a(x))), ["sign"]),
        (lambda a, b, x: b(torch.div(a(x), 2, rounding_mode="floor")), ["floor-division"]),
        (lambda a, b, x: b(torch.softmax(a(x)[:, :1], 1).expand(8, 4)), ["softmax-of-one"]),
        (lambda a, b, x: b(F.layer_norm(a(x)[..., None], (1,))[..., 0]), ["normalised-one"]),
        (lambda a, b, x: b(a(x).clamp(50, 60)), ["clamp"]),
        (lambda a, b, x: b(a(x).clamp(max=-50)), ["clamp"]),
        (lambda a, b, x: b(torch.relu(a(x))), []),
        (lambda a, b, x: b(a(x).clamp(-0.5, 0.5)), []),
        (lambda a, b, x: b((z := a(x)) + (torch.round(z) - z).detach()), []),
        (lambda a, b, x: b((z := a(x)) - torch.floor(z)), []),
        (lambda a, b, x: b(Round.apply(a(x))), []),
        (lambda a, b, x: b(torch.div(a(x), 2)), []),
        (lambda a, b, x: b(torch.softmax(a(x), 1)), []),
    ],
)
def test_operations_without_a_slope(how: Callable[..., Tensor], expected: list[str]) -> None:
    """Only where no other way leads to the layer behind; one's own Function of that name has its own gradient."""
    assert expected == blocked_by(how)


# -- what the mean alone is worth ------------------------------------------------------------------------------------


def test_the_spread_of_the_targets() -> None:
    """Of each output by itself; not of a sum of losses, nor of targets that are computed."""
    targets = torch.randn(8, 3) + torch.tensor([0.0, 50.0, 100.0])
    output = nn.Linear(4, 3)(X)
    spread = constant_guess(nodes_of(F.mse_loss(output, targets)))
    assert spread is not None and torch.isclose(spread, targets.var(dim=0).mean())
    summed = constant_guess(nodes_of(F.mse_loss(output, targets, reduction="sum")))
    assert summed is not None and torch.isclose(summed, 24 * spread)
    assert constant_guess(nodes_of(F.mse_loss(output, targets) + F.mse_loss(output, 2 * targets))) is None
    assert constant_guess(nodes_of(F.mse_loss(output, 2 * output))) is None
    assert constant_guess(nodes_of(F.mse_loss(output[:7], targets[:7]))) is None


# -- all of them in a run ----------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """One of each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(torch.tanh(torch.round(self.a(x)))))


def run(watched: bool, wrap: Callable[[nn.Module, Tensor], Tensor] = lambda m, x: m(x)) -> tuple[list[Tensor], Any]:
    torch.manual_seed(3)
    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = gradscope.watch(every=1) if watched else None
    try:
        for _ in range(6):
            optimizer.zero_grad()
            output = wrap(model, X)
            loss = F.cross_entropy(torch.softmax(output, 1), LABELS) + F.mse_loss(output[:, :1], Y)
            loss.backward()
            optimizer.step()
    finally:
        if scope is not None:
            scope.close()
    return [p.detach().clone() for p in model.parameters()], scope


def test_a_run_is_bit_for_bit_the_same_and_the_facts_are_there() -> None:
    """Weights with and without; every kind of fact was seen, by the columns of the parameters meant."""
    plain, _ = run(False)
    watched, scope = run(True)
    assert all(torch.equal(one, other) for one, other in zip(plain, watched))
    facts = scope.record.facts
    assert [(0, "softmax")] == [(e.first, e.newest.output) for e in facts.of(NormalizedOutput)]
    assert ["(8, 1)"] == [e.newest.prediction for e in facts.of(LossBroadcast)]
    assert [(2, 4)] == [(e.newest.first, e.newest.second) for e in facts.of(StackedLinear)]
    assert [("round", True)] == [(e.newest.operation, e.newest.parameter in (0, 1)) for e in facts.of(BlockedGradient)]
    assert not [name for name in scope.record.meta.blind if name.endswith("Probe")]


def test_no_graph_is_kept_alive() -> None:
    """The loss of the last row is gone as soon as the loop lets go of it."""
    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch():
        loss = F.mse_loss(model(X)[:, :1], Y)
        mark = nn.Identity()
        node, loss.grad_fn.metadata["mark"] = weakref.ref(mark), mark  # operations take no weak references
        del mark
        loss.backward()
        optimizer.step()
        del loss
        gc.collect()
        assert node() is None


def test_a_checkpointed_graph_is_not_unpacked() -> None:
    """The forward runs twice, as without gradscope, and not a third time."""
    calls = []

    def wrap(model: nn.Module, x: Tensor) -> Tensor:
        def forward(x: Tensor) -> Tensor:
            calls.append(1)
            return model(x).clamp(-90, 90)

        return checkpoint(forward, x, use_reentrant=False)

    run(False, wrap)
    count = len(calls)
    run(True, wrap)
    assert 2 * count == len(calls)


# -- which loss function ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction, classes", [("mean", 3), ("none", 3), ("sum", 0)])
def test_the_chance_of_a_sum_is_not_known(reduction: str, classes: int) -> None:
    """What guessing costs is ln C a sample: a sum over the batch says nothing of it."""
    logits = torch.randn(8, 3, requires_grad=True)
    loss = nn.functional.cross_entropy(logits, torch.zeros(8, dtype=torch.long), reduction=reduction).sum()
    assert loss_function(survey([loss]).nodes) == ("cross-entropy", classes)
