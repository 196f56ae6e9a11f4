"""Loss functions that are handed what they take."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from gradscope.hooks.patching import Patch
from gradscope.trying.interventions.base import Intervention, NumberOf

_FUNCTIONS = {
    "cross-entropy": "cross_entropy",
    "bce-with-logits": "binary_cross_entropy_with_logits",
    "nll": "nll_loss",
}
_SUMS = 1e-3  # how far probabilities may be from a sum of 1: half precision rounds


class TakeLogits(Intervention):
    """The loss gets the logits that its softmax or sigmoid was made of, or, for NLLLoss, their logarithms.

    The logarithm of a softmax differs from the logits by one number for each sample, which cross entropy does not
    see. Calls of the function with something else than probabilities stay as they are.
    """

    def __init__(self, number: int | None, number_of: NumberOf, output: str, loss: str) -> None:
        super().__init__(number, number_of)
        self._output, self._loss = output, loss

    def patches(self) -> list[Patch]:
        return [Patch(functional, _FUNCTIONS[self._loss], self._replaced)]

    def _replaced(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def loss(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("input")
            instead = self.attempt(self._taken, given)
            if instead is None:
                return original(*args, **kwargs)
            return original(instead, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})

        return loss

    def _taken(self, given: Any) -> torch.Tensor | None:
        """What the loss is to get; None: what it is given."""
        classes = 1 if given.dim() > 1 else 0
        if self._output == "logits":
            taken = functional.log_softmax(given, classes) if bool((given > 0).any()) else None
        elif self._output == "softmax":
            whole = bool((given >= 0).all()) and bool(((given.sum(classes) - 1).abs() < _SUMS).all())
            taken = given.clamp_min(torch.finfo(given.dtype).tiny).log() if whole else None
        else:
            within = bool(((given >= 0) & (given <= 1)).all())
            taken = torch.logit(given, torch.finfo(given.dtype).eps) if within else None
            if taken is not None and self._loss == "nll":
                taken = functional.log_softmax(taken, classes)
        self.applied += taken is not None
        return taken
