"""The batch is found among what the graph of a loss has saved."""
from __future__ import annotations

from typing import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.hooks.batch import inputs, targets
from gradscope.hooks.graph import survey

Tensor = torch.Tensor
X, IMAGES, LABELS = torch.linspace(-2, 2, 32).reshape(8, 4), torch.rand(2, 3, 8, 8), torch.arange(8) % 3
CLASSES = torch.tensor([0, 1])


@pytest.mark.parametrize(
    "loss, given, compared",
    [
        (lambda: F.cross_entropy(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))(X), LABELS), X, LABELS),
        (lambda: F.mse_loss(nn.Linear(4, 4, bias=False)(X), X), X, X),
        (lambda: F.cross_entropy(nn.Conv2d(3, 2, 8)(IMAGES).flatten(1), CLASSES), IMAGES, CLASSES),
        (lambda: F.cross_entropy(nn.Conv2d(3, 2, 8)(IMAGES.mT / 255).flatten(1), CLASSES), IMAGES.mT / 255, CLASSES),
        (lambda: F.cross_entropy(nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3))(LABELS), LABELS), LABELS, LABELS),
        (lambda: F.cross_entropy(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))(X), LABELS), X, LABELS),
        (lambda: F.cross_entropy(nn.Linear(4, 3).bfloat16()(X.bfloat16()).float(), LABELS), X.bfloat16(), LABELS),
    ],
)
def test_both_sides_of_a_batch_are_found(loss: Callable[[], Tensor], given: Tensor, compared: Tensor) -> None:
    """The input of the first layer, as it was given, and the target; layers further up have no part in it."""
    nodes = survey([loss()]).nodes
    [part] = inputs(nodes)
    assert torch.equal(given, part.tensor)
    [target] = targets(nodes)
    assert torch.equal(compared, target.tensor)


def test_what_has_a_gradient_is_no_batch() -> None:
    """Neither an input whose own gradient is asked for, nor a target that a model has made."""
    asked = X.clone().requires_grad_()
    nodes = survey([F.mse_loss(nn.Linear(4, 2)(asked), nn.Linear(4, 2)(asked))]).nodes
    assert [] == inputs(nodes) and [] == targets(nodes)
