"""One contract for every optimizer of torch.optim: the record of three steps against what is computed by hand.

The classes are found by introspection, so that the optimizers of future versions of torch are held to it too.
"""
from __future__ import annotations

import gc
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradscope
from gradscope.events import GradState, Point
from gradscope.record.record import OptimizerRecord, Wiring

CLASSES = sorted(
    (kind for kind in vars(torch.optim).values() if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)),
    key=lambda kind: kind.__name__,
)
CLASSES.remove(torch.optim.Optimizer)
STEPS = 3
ADDED_AT = 1  # the step before which add_param_group is called


class Dense(nn.Module):
    """Weights and biases; `late` takes part once its parameters are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.late = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, with_late: bool) -> torch.Tensor:
        hidden = self.second(torch.tanh(self.first(x)))
        return self.late(hidden) if with_late else hidden

    def batch(self) -> torch.Tensor:
        return torch.randn(8, 4)


class Matrices(Dense):
    """Two-dimensional parameters only."""

    def __init__(self) -> None:
        super().__init__()
        for layer in (self.first, self.second, self.late):
            layer.register_parameter("bias", None)


class Sparse(nn.Module):
    """Embeddings whose gradients are sparse, with rows that occur twice in a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.late = nn.Embedding(7, 3, sparse=True), nn.Embedding(7, 3, sparse=True)

    def forward(self, x: torch.Tensor, with_late: bool) -> torch.Tensor:
        return self.first(x) + self.late(x) if with_late else self.first(x)

    def batch(self) -> torch.Tensor:
        return torch.tensor([1, 3, 3, 5, int(torch.randint(7, ()))])


MODELS = {"Muon": Matrices, "SparseAdam": Sparse}


@dataclass
class ByHand:
    """What the loop itself sees; one entry per step, parameters by name."""

    before_zero_grad: list[dict[str, float]] = field(default_factory=list)
    grads: list[dict[str, float]] = field(default_factory=list)
    weights: list[dict[str, float]] = field(default_factory=list)
    updates: list[dict[str, float]] = field(default_factory=list)
    grads_after: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    lrs: list[list[float]] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)


def norm(tensor: torch.Tensor) -> float:
    return float(tensor.detach().to_dense().double().norm())


def grad_norms(model: nn.Module) -> dict[str, float]:
    return {name: norm(p.grad) for name, p in model.named_parameters() if p.grad is not None}


def train(kind: type[torch.optim.Optimizer], closure: bool, late_group: bool, **options: Any) -> ByHand:
    """Three steps; the second group is added before the second; the learning rates are halved before the third."""
    model = MODELS.get(kind.__name__, Dense)()
    early = [name for name, _ in model.named_parameters() if not name.startswith("late")]
    options = {"lr": 0.01, **options}
    optimizer = kind([p for name, p in model.named_parameters() if name in early], **options)
    seen = ByHand()
    for step in range(STEPS):
        with_late = late_group and step >= ADDED_AT
        if with_late and step == ADDED_AT:
            optimizer.add_param_group({"params": list(model.late.parameters()), "lr": 0.002})
        if step == 2:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] / 2
        x = model.batch()
        notes: dict[str, Any] = {}

        def evaluate() -> torch.Tensor:
            notes["before_zero_grad"] = grad_norms(model)
            optimizer.zero_grad()
            loss = model(x, with_late).square().sum()
            loss.backward()
            notes["grads"] = grad_norms(model)
            notes.setdefault("losses", []).append(loss.item())
            return loss

        old = {name: p.detach().clone() for name, p in model.named_parameters()}
        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()
        seen.before_zero_grad.append(notes["before_zero_grad"])
        seen.grads.append(notes["grads"])
        seen.losses.append(float(np.mean(notes["losses"])))
        seen.grads_after.append(grad_norms(model))
        seen.weights.append({name: norm(weight) for name, weight in old.items()})
        seen.updates.append({name: norm(p.detach() - old[name]) for name, p in model.named_parameters()})
        seen.lrs.append([float(group["lr"]) for group in optimizer.param_groups])
    names = {id(p): name for name, p in model.named_parameters()}
    seen.trained = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    return seen


def recorded(kind: type[torch.optim.Optimizer], **arguments: Any) -> tuple[OptimizerRecord, ByHand]:
    with torch.random.fork_rng(), gradscope.watch(every=1) as scope:
        torch.manual_seed(1)
        seen = train(kind, **arguments)
        (found,) = scope.record.optimizers
    assert not [f for f in scope.findings if f.severity in ("error", "warning")]
    return found, seen


def check(kind: type[torch.optim.Optimizer], found: OptimizerRecord, seen: ByHand) -> None:
    """Compare all there is."""
    assert kind.__name__ == found.kind
    assert list(range(STEPS)) == found.rows.tolist() == found.measured.tolist()
    assert seen.trained == [p.name for p in found.parameters]
    assert [Wiring.STATISTICS] * STEPS == found.wiring.tolist()
    for row in range(STEPS):
        known = [name in seen.grads[row] for name in seen.trained]
        check_states(found, row, known, [name in seen.before_zero_grad[row] for name in seen.trained])
        norms = {
            Point.BEFORE_ZERO_GRAD: seen.before_zero_grad[row],
            Point.AFTER_BACKWARD: seen.grads[row],
            Point.BEFORE_STEP: seen.grads[row],
            Point.AFTER_STEP: seen.grads_after[row],
        }
        for point, expected in norms.items():
            same(expected, seen.trained, found.grad_norm(point)[row], f"gradients of row {row}, {point.name}")
        for column, values in (("weight_norm", seen.weights[row]), ("update_norm", seen.updates[row])):
            there = {name: values[name] for name, is_known in zip(seen.trained, known) if is_known}
            same(there, seen.trained, found.arrays[column][row], f"{column} of row {row}")
        lrs = [*seen.lrs[row], *[np.nan] * (len(seen.lrs[-1]) - len(seen.lrs[row]))]
        np.testing.assert_allclose(found.lr[row], lrs, rtol=1e-6)
        total = np.sqrt(sum(value**2 for value in seen.grads[row].values()))
        np.testing.assert_allclose(found.scalars["grad_norm"][row], total, rtol=1e-5)
    np.testing.assert_allclose(found.scalars["loss"], seen.losses, rtol=1e-5)


def check_states(found: OptimizerRecord, row: int, known: list[bool], had_one: list[bool]) -> None:
    """`known`: which parameters were trained in the row; `had_one`: which had a gradient before zero_grad."""
    old = GradState.STALE
    for point, present in (
        (Point.BEFORE_ZERO_GRAD, [old if had else GradState.NONE for had in had_one]),
        (Point.AFTER_ZERO_GRAD, [GradState.NONE] * len(known)),
        (Point.AFTER_BACKWARD, [GradState.FRESH] * len(known)),
        (Point.BEFORE_STEP, [GradState.FRESH] * len(known)),
        (Point.AFTER_STEP, [old] * len(known)),
    ):
        expected = [state if there else GradState.NOT_SEEN for state, there in zip(present, known)]
        assert expected == found.grad_state(point)[row].tolist(), f"row {row}, {point.name}"


def same(expected: dict[str, float], names: list[str], got: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(got, [expected.get(n, np.nan) for n in names], rtol=1e-5, atol=1e-9, err_msg=what)


@pytest.mark.parametrize("kind", CLASSES)
def test_steps_are_recorded_as_computed_by_hand(kind: type[torch.optim.Optimizer]) -> None:
    """States, norms of gradients, weights and updates, names, losses and learning rates, whoever steps."""
    found, seen = recorded(kind, closure=kind is torch.optim.LBFGS, late_group=False)
    check(kind, found, seen)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not torch.optim.LBFGS])
def test_parameters_added_in_the_middle_are_recorded_from_then_on(kind: type[torch.optim.Optimizer]) -> None:
    """add_param_group: new columns and a new learning rate; the rows before have not seen them."""
    found, seen = recorded(kind, closure=False, late_group=True)
    assert 1 == max(p.group for p in found.parameters)
    check(kind, found, seen)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not torch.optim.LBFGS])
def test_steps_with_a_closure_are_recorded_alike(kind: type[torch.optim.Optimizer]) -> None:
    """With a closure, zero_grad and backward run inside step: the same record as of the plain loop."""
    found, seen = recorded(kind, closure=True, late_group=True)
    check(kind, found, seen)


def test_optimizers_are_numbered_by_age() -> None:
    """Two that one backward reaches: the older one comes first, whatever the garbage collector has done meanwhile."""
    model = nn.Linear(2, 2)
    older = torch.optim.SGD([model.weight], lr=0.1)
    gc.collect()
    younger = torch.optim.Adam([model.bias], lr=0.1)
    with gradscope.watch(model, [older, younger]) as scope:
        model(torch.ones(1, 2)).sum().backward()
        younger.step()
        older.step()
        assert ["SGD", "Adam"] == [optimizer.kind for optimizer in scope.record.optimizers]


VARIANTS = {
    "momentum": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "weight decay": (torch.optim.SGD, {"weight_decay": 0.1}),
    "maximize": (torch.optim.Adam, {"maximize": True}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "one tensor at a time": (torch.optim.Adam, {"foreach": False}),
    "all tensors at once": (torch.optim.AdamW, {"foreach": True}),
    "fused": (torch.optim.AdamW, {"fused": True}),
    "lr in a tensor": (torch.optim.Adam, {"lr": torch.tensor(0.01), "foreach": False}),
    "centered": (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    "line search": (torch.optim.LBFGS, {"line_search_fn": "strong_wolfe", "max_iter": 4}),
    "one evaluation": (torch.optim.LBFGS, {"max_iter": 1}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_of_optimizers_change_nothing_of_it(variant: str) -> None:
    """Ways to compute a step: foreach, fused, weight decay, line search..."""
    kind, options = VARIANTS[variant]
    found, seen = recorded(kind, closure=kind is torch.optim.LBFGS, late_group=False, **options)
    check(kind, found, seen)


def test_all_of_torch_optim_is_here() -> None:
    """The introspection finds what it is to find."""
    names = {kind.__name__ for kind in CLASSES}
    known = {"Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "NAdam", "RAdam", "RMSprop", "Rprop"}
    assert known | {"SGD", "SparseAdam"} <= names
