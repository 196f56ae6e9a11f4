"""Whether labels fit their own samples better than others of the batch: what is read, and what GS204 makes of it."""
from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import gradscope
from gradscope.diagnosis import diagnose
from gradscope.facts.fact import newest_of
from gradscope.facts.labels import LabelFit
from gradscope.facts.loss import LossFunction
from gradscope.hooks.graph import survey
from gradscope.hooks.labels import place, read
from gradscope.probes.label_fit import Fit, label_fit
from gradscope.rules.loss.loss_not_decreasing import LossNotDecreasing
from gradscope.rules.unrelated import Unrelated
from tests.records import optimizer, record
from tests.test_loss_course_rules import measured, noisy

Tensor = torch.Tensor
SCORES = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
LABELS = torch.tensor([0, 2, 2, 1, 0])
BINARY = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0])
WEIGHTS = torch.tensor([1.0, 2.0, 4.0])
HEAVY = torch.tensor(8.0)


def costs(name: str, labels: Tensor) -> Tensor:
    """What each sample costs with these labels, of each kind of loss # (samples,)."""
    logits = SCORES[:, 0]
    if name == "classes":
        return F.cross_entropy(SCORES, labels, reduction="none")
    if name == "weighted":
        return F.cross_entropy(SCORES, labels, WEIGHTS, reduction="none")
    if name == "logits":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=HEAVY)
    return F.binary_cross_entropy(logits.sigmoid(), labels, reduction="none")


LOSSES: dict[str, Any] = {
    "classes": lambda: F.cross_entropy(SCORES, LABELS),
    "weighted": lambda: F.cross_entropy(SCORES, LABELS, WEIGHTS),
    "logits": lambda: F.binary_cross_entropy_with_logits(SCORES[:, 0], BINARY, pos_weight=HEAVY),
    "probabilities": lambda: F.binary_cross_entropy(SCORES[:, 0].sigmoid(), BINARY),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_fit_is_that_of_all_permutations(name: str) -> None:
    """The mean over the 120 orders of the labels, less what they cost as they are; and its standard deviation."""
    loss, labels = LOSSES[name](), LABELS if name in ("classes", "weighted") else BINARY
    at = place(loss.grad_fn, survey([loss]).nodes)
    assert at is not None
    found = read(loss.grad_fn, at, True)
    assert found is not None
    count, gain, squares, blind = found.fit.tolist()
    sums = torch.stack([costs(name, labels[list(order)]).sum().detach() for order in permutations(range(5))])
    assert 5 == count and blind == pytest.approx(float(sums.mean()), rel=1e-4)
    assert gain == pytest.approx(float(sums.mean() - costs(name, labels).sum().detach()), abs=1e-4)
    assert 0.3 < squares**0.5 / float(sums.std()) < 3  # of five samples


def test_ignored_labels_have_no_part() -> None:
    """What is read of the others is the same without them."""
    kept, marked = SCORES[:3], torch.tensor([0, 2, 2, -100, -100])
    fits = []
    for loss in (F.cross_entropy(kept, LABELS[:3]), F.cross_entropy(SCORES, marked)):
        at = place(loss.grad_fn, survey([loss]).nodes)
        found = None if at is None else read(loss.grad_fn, at, True)
        assert found is not None
        fits.append(found.fit)
    torch.testing.assert_close(*fits)


def test_what_tells_nothing_is_left_out() -> None:
    """Few labels, one class only, a model that gives the same to all, and what is no number."""
    rows = [Fit(0, True, 7, 1, 9, 9), Fit(1, True, 32, 0, 1e-12, 9), Fit(2, True, 32, float("nan"), 9, 9)]
    assert label_fit(rows, 2, 0) is None and label_fit([*rows, Fit(3, False, 32, 4, 4, 32)], 3, 0) is None
    fact = label_fit([*rows, Fit(3, True, 32, 4, 4, 32), Fit(9, False, 32, 16, 4, 64)], 9, 0)
    assert LabelFit(9, 0, 1, 32, 0.125, 2 / 32, 1.0, 9, 0.5, 2.0) == fact


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_first_pass_over_a_loader_tells(shuffled: bool) -> None:
    """60 rows of 16; later ones are no longer new."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(960, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    y = y[torch.randperm(960, generator=generator)] if shuffled else y
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    with gradscope.watch(model, sgd) as scope:
        for _ in range(2):
            for a, b in loader:
                sgd.zero_grad()
                F.cross_entropy(model(a), b).backward()
                sgd.step()
    (fact,) = newest_of(scope.record.facts.of(LabelFit))
    assert (60, 960) == (fact.looks, fact.samples)
    assert fact.gain < 2 * fact.error if shuffled else fact.gain > 10 * fact.error


FIT = LabelFit(390, 0, 40, 1280, 0.002, 0.004, 0.7, 300, 0.02, 0.7)


def found(fit: LabelFit = FIT, rows: int = 520, status: str = "running", update: float = 0.01) -> list[Any]:
    falling = noisy(np.linspace(0.72, 0.62, rows), rows)
    one = measured(optimizer(losses=falling, lr=0.1), [1.0, 1.0], update)
    return list(LossNotDecreasing().check(record(one, facts=[fit], status=status)))


@pytest.mark.parametrize(
    "change, count",
    [
        ({}, 1),
        ({"looks": 23}, 0),
        ({"samples": 499}, 0),
        ({"gain": 0.0081}, 0),
        ({"gain": -0.03}, 1),
        ({"gain": 0.0, "error": 0.022}, 0),
        ({"late_gain": 0.071}, 0),
        ({"late_gain": 0.069}, 1),
        ({"blind": 0.0}, 0),
        ({"error": 0.00038, "gain": 0.0}, 0),
    ],
)
def test_labels_that_do_not_fit_are_found(change: dict[str, float], count: int) -> None:
    """New ones no better than by chance, known well enough, and hardly better later; though the loss creeps down."""
    assert count == len(found(replace(FIT, **change)))  # type: ignore[arg-type]


def test_what_is_said_of_labels_that_do_not_fit() -> None:
    """The loss, that with shuffled labels, and where to look; over once they fit."""
    (finding,) = found()
    assert "hardly better than with the labels of each batch shuffled (0.7)" in finding.text
    assert "1280 labels that were new" in finding.text and "shuffled, sorted" in finding.advice[0].text
    one = optimizer(losses=[0.6] * 400)
    assert not LossNotDecreasing().over(finding, record(one, facts=[FIT]))
    assert LossNotDecreasing().over(finding, record(one, facts=[replace(FIT, late_gain=0.2)]))


def test_a_model_that_has_not_moved_has_not_been_asked() -> None:
    """500 rows, 150 at the end of a run; weights that have moved by more than their size."""
    assert [] == found(rows=480) == found(rows=140, status="finished") == found(update=0.001)
    assert 1 == len(found(rows=160, status="finished", update=0.02))


def test_labels_that_are_told_a_little_are_no_guess() -> None:
    """The loss stays at ln 2, and may have to: new labels fitted, and still do; or else it is stuck."""
    still = measured(optimizer(losses=noisy(np.log(2), 900, 0.005), lr=0.1), [1.0, 1.0], 0.01)
    two = LossFunction(0, 0, "binary-cross-entropy", 2)
    for fit, count in [(FIT, 1), (replace(FIT, gain=0.013), 0), (replace(FIT, gain=0.013, late_gain=0.003), 1)]:
        assert count == len(list(LossNotDecreasing().check(record(still, facts=[two, fit]))))


def test_no_evidence_is_none() -> None:
    """Without facts, or with those of two optimizers."""
    one = record(optimizer(losses=[1.0] * 9))
    assert Unrelated().find(one, one.streams[0]) is None and () == diagnose(one, [LossNotDecreasing()]).findings
