"""What is read of class labels from live graphs, and what GS602 makes of loops with labels in an order of their own."""
from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.facts.labels import LabelCounts, LabelOrder
from gradscope.hooks.graph import survey
from gradscope.hooks.labels import Place, place, read
from gradscope.hooks.saved import saved_as
from gradscope.probes.label_tally import Tally

Tensor = torch.Tensor
X, LABELS = torch.linspace(-2, 2, 32).reshape(8, 4), torch.arange(8) % 3
ONE_HOT = F.one_hot(LABELS, 3).float()
BINARY = (torch.arange(8) % 2).float()
IMAGES, MASKS = torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4), (torch.arange(32) % 3).reshape(2, 4, 4)


@pytest.fixture(autouse=True)
def seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def net(outputs: int = 3) -> Tensor:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs))(X)


def found(loss: Tensor) -> Place | None:
    return place(loss.grad_fn, survey([loss]).nodes)


# -- where the labels are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss, true",
    [
        (lambda: F.cross_entropy(net(), LABELS), LABELS),
        (lambda: F.cross_entropy(net(), LABELS, reduction="sum") / 4, LABELS),
        (lambda: F.cross_entropy(net(), LABELS, label_smoothing=0.1), LABELS),
        (lambda: F.cross_entropy(net(), LABELS) + 0.1 * net().square().mean(), LABELS),
        (lambda: F.nll_loss(net().log_softmax(1), LABELS) * 65536, LABELS),
        (lambda: F.cross_entropy(net(), ONE_HOT), LABELS),
        (lambda: F.cross_entropy(net(), 0.8 * ONE_HOT + 0.1), [-1] * 8),  # more than 1 in all: no probabilities
        (lambda: F.cross_entropy(net(1)[:, 0][None], torch.tensor([3])), [3]),
        (lambda: F.cross_entropy(net(), torch.where(LABELS == 0, -100, LABELS)), [-100, 1, 2] * 2 + [-100, 1]),
        (lambda: F.binary_cross_entropy_with_logits(net(1)[:, 0], BINARY), BINARY),
        (lambda: F.binary_cross_entropy_with_logits(net(1), BINARY[:, None]), BINARY),
        (lambda: F.binary_cross_entropy(net(1).sigmoid(), 0.9 * BINARY[:, None]), BINARY),
        (lambda: F.binary_cross_entropy(net(1).sigmoid(), 0.5 * BINARY[:, None]), BINARY.neg()),
        (lambda: F.cross_entropy(nn.Conv2d(3, 3, 1)(IMAGES), MASKS), MASKS.flatten()),
    ],
)
def test_labels_are_read_as_they_were_given(loss: Callable[[], Tensor], true: Any) -> None:
    """Whatever the loss is a part of; -1 where they are no labels."""
    value = loss()
    at = found(value)
    assert at is not None
    labels = read(value.grad_fn, at, True)
    assert labels is not None
    expected = torch.as_tensor(true)
    assert expected.tolist() == labels.true.tolist()
    assert len(expected) == len(labels.predicted) == len(labels.loss)


def test_what_the_model_makes_of_them() -> None:
    """Its best guess for each, and what each costs by itself, without weights."""
    logits = net().detach().requires_grad_()
    for loss in (
        F.cross_entropy(logits, LABELS, weight=torch.tensor([1.0, 2.0, 3.0])),
        F.cross_entropy(logits, ONE_HOT, weight=torch.tensor([1.0, 2.0, 3.0])),
    ):
        at = found(loss)
        assert at is not None and at.weighted and 3 == at.classes
        labels = read(loss.grad_fn, at, True)
        assert labels is not None
        assert torch.equal(logits.argmax(1), labels.predicted)
        torch.testing.assert_close(F.cross_entropy(logits.detach(), LABELS, reduction="none"), labels.loss)


@pytest.mark.parametrize(
    "loss",
    [
        lambda: F.mse_loss(net(), ONE_HOT),
        lambda: F.cross_entropy(net(), LABELS) + F.mse_loss(net(), ONE_HOT),
        lambda: F.cross_entropy(net(), LABELS) + F.cross_entropy(net(), LABELS.flip(0)),
        lambda: (F.cross_entropy(net(), LABELS, reduction="none") * X[:, 0]).mean(),
        lambda: F.binary_cross_entropy_with_logits(net(), ONE_HOT),
        lambda: F.kl_div(net().log_softmax(1), ONE_HOT, reduction="batchmean"),
        lambda: -(net().log_softmax(1) * net().softmax(1)).sum(),
        lambda: checkpoint(lambda: F.cross_entropy(net(), LABELS), use_reentrant=False),
    ],
)
def test_losses_without_labels_or_with_several(loss: Callable[[], Tensor]) -> None:
    """Weighted by hand, of many outputs, of two heads, without labels, checkpointed: nothing is read."""
    assert found(loss()) is None


@pytest.mark.parametrize(
    "loss, dense, ids",
    [
        (lambda: F.cross_entropy(net(), LABELS), False, False),
        (lambda: F.cross_entropy(nn.Linear(4, 3)(X[None]).view(-1, 3), LABELS), True, False),
        (lambda: F.cross_entropy(nn.Linear(4, 3)(X.view(2, 4, 4)).transpose(1, 2), LABELS.view(2, 4)), True, False),
        (lambda: F.cross_entropy(nn.Linear(4, 3)(X[None])[0], LABELS), True, False),
        (lambda: F.cross_entropy(nn.Embedding(3, 3)(LABELS), LABELS), False, True),
    ],
)
def test_several_labels_of_a_sample_are_told_apart(loss: Callable[[], Tensor], dense: bool, ids: bool) -> None:
    """Time steps, laid out flat or not; and models that look up vectors by number."""
    at = found(loss())
    assert at is not None
    assert (dense, ids) == (at.dense, at.ids)


def test_a_saved_tensor_by_name() -> None:
    """None where the operation has no such thing, or backward has run."""
    loss = F.cross_entropy(net(), LABELS)
    assert saved_as(loss.grad_fn, "target") is not None and saved_as(loss.grad_fn, "result") is None
    loss.backward()
    assert saved_as(loss.grad_fn, "target") is None


# -- what they add up to -----------------------------------------------------------------------------------------------


def tallied(rows: Iterable[tuple[int, list[int]]]) -> LabelOrder | None:
    tally = Tally()
    for row, labels in rows:
        true = np.array(labels, np.float32)
        tally.add(row, true, true, np.ones_like(true))
    return tally.order(99, 0)


def test_random_rows_are_nothing_special() -> None:
    """As like one another as any, give or take three standard deviations; nine in ten of one class, or not."""
    rng = np.random.default_rng(0)
    for shares in ([0.25] * 4, [0.9, 0.05, 0.05], [0.99, 0.01]):
        for size in (1, 4, 32):
            sigmas = []
            for _ in range(40):
                order = tallied((row, rng.choice(len(shares), size, p=shares).tolist()) for row in range(64))
                if order is not None:
                    sigmas.append(order.sigmas)
            assert abs(np.mean(sigmas)) < 0.5 and np.std(sigmas) < 1.5 and np.max(sigmas) < 6


def test_pure_rows_are_told_by_their_blocks() -> None:
    """One class a row, two rows each; rows of one label are taken together."""
    order = tallied((row, [row // 2] * 8) for row in range(8))
    assert order is not None
    assert ((0, 1, 2, 3), (0, 2, 4, 6), (1, 3, 5, 7)) == (order.classes, order.firsts, order.lasts)
    assert 1.0 == pytest.approx(order.within)
    assert (7, (4 / 7 - 0.25) / 0.75) == (order.pairs, pytest.approx(order.joined))
    single = tallied((row, [row // 32]) for row in range(64))
    assert single is not None and 1.0 == pytest.approx(single.within)


def test_backwards_of_one_row_belong_together() -> None:
    """Real ones, then false ones, in each row: rows are alike."""
    order = tallied((row // 2, [row % 2] * 8) for row in range(64))
    assert order is not None
    assert order.within < 0.01 and 1 == len(order.classes)


# -- loops ---------------------------------------------------------------------------------------------------------


def watched(batches: Iterable[Tensor], inputs: Tensor, classes: int) -> gradscope.scope.Scope:
    model = nn.Sequential(nn.Linear(inputs.shape[1], 16), nn.ReLU(), nn.Linear(16, classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with gradscope.watch() as scope:
        for labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[labels] + torch.randn(len(labels), inputs.shape[1])), labels).backward()
            optimizer.step()
    return scope


def judged(batches: Iterable[Tensor], classes: int = 10) -> list[str]:
    scope = watched(batches, torch.randn(10, 8), classes)
    return [f.severity for f in scope.findings if f.code == "GS602"]


def segments(many: int, classes: int, least: int, most: int) -> Tensor:
    lengths = torch.randint(least, most, (many,)).tolist()
    return torch.cat([torch.full((n,), int(torch.randint(classes, ()))) for n in lengths])


SORTED = torch.arange(10).repeat_interleave(70)


@pytest.mark.parametrize(
    "batches, severities",
    [
        (lambda: [b for _ in range(3) for b in SORTED.split(16)], ["warning"]),
        (lambda: [b for _ in range(4) for b in SORTED.split(64)], ["warning"]),
        (lambda: SORTED[::5].repeat(3).split(1), ["warning"]),
        (lambda: SORTED.split(8), ["info"]),
        (lambda: [b for _ in range(3) for b in SORTED[torch.randperm(700)].split(16)], []),
        (lambda: segments(60, 4, 30, 140).repeat(3).split(32), ["info"]),
        (lambda: segments(60, 2, 20, 160).repeat(2).split(16), ["info"]),
        (lambda: [task + torch.randint(0, 2, (16,)) for task in range(0, 10, 2) for _ in range(30)], []),
        (lambda: [torch.randperm(10)[:5].repeat_interleave(5) for _ in range(130)], []),
        (lambda: [torch.randperm(10)[:2].repeat_interleave(8) for _ in range(130)], []),
        (lambda: [torch.full((16,), int(torch.randint(10, ()))) for _ in range(130)], []),
        (lambda: [torch.full((16,), row % 2) for row in range(130)], []),
        (lambda: [SORTED] * 70, []),
        (lambda: [(torch.rand(32) < 0.01).long() for _ in range(130)], []),
    ],
    ids=[
        "sorted", "sorted, as large as a class", "sorted, one by one", "one epoch", "shuffled", "activities",
        "on and off", "tasks", "episodes", "pairs", "a class a batch", "by turns", "all at once", "rare",
    ],
)  # fmt: skip
def test_labels_in_an_order_of_their_own(batches: Callable[[], Iterable[Tensor]], severities: list[str]) -> None:
    """Sorted data is a mistake; what follows from a task is info at most."""
    assert severities == judged(batches())


def test_steady_rows_are_looked_at_now_and_then() -> None:
    """Each of the first 64, then ever fewer; and what is counted is right."""
    batches = [torch.randint(0, 3, (8,)) for _ in range(600)]
    (entry,) = watched(batches, torch.randn(10, 4), 3).record.facts.of(LabelCounts)
    fact = entry.newest
    assert isinstance(fact, LabelCounts)
    assert 64 + 60 <= fact.looks <= 64 + 160 and 8 * fact.looks == fact.samples == sum(fact.counts)
    assert fact.late == sum(fact.given) == sum(fact.predicted) and fact.since >= 297


def test_an_optimizer_of_several_label_sets_is_passed_over() -> None:
    """Two heads by turns: class 0 of one is not that of the other."""
    model, heads = nn.Linear(4, 8), [nn.Linear(8, 3), nn.Linear(8, 5)]
    optimizer = torch.optim.SGD([p for m in (model, *heads) for p in m.parameters()], lr=0.1)
    with gradscope.watch() as scope:
        for row in range(70):
            optimizer.zero_grad()
            F.cross_entropy(heads[row % 2](model(X)), LABELS).backward()
            optimizer.step()
    (entry,) = scope.record.facts.of(LabelCounts)
    assert isinstance(entry.newest, LabelCounts) and 1 == entry.newest.looks  # before the second head was known


def test_nothing_is_kept_alive() -> None:
    """Neither a graph nor a batch, once its row is over."""
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    alive = []
    with gradscope.watch():
        for _ in range(20):
            optimizer.zero_grad()
            inputs, labels = X.clone(), LABELS.clone()
            alive += [weakref.ref(inputs), weakref.ref(labels)]
            loss = F.cross_entropy(model(inputs), labels)
            alive.append(weakref.ref(loss))
            loss.backward()
            optimizer.step()
        del inputs, labels, loss
        gc.collect()
        assert not [ref for ref in alive if ref() is not None]


def test_a_loop_that_never_steps_is_not_collected() -> None:
    """Thousands of backwards of one row: a few are kept."""
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch() as scope:
        for _ in range(300):
            F.cross_entropy(model(X), LABELS).backward()
        optimizer.step()
    (entry,) = scope.record.facts.of(LabelCounts)
    assert isinstance(entry.newest, LabelCounts) and entry.newest.samples <= 64 * 8
