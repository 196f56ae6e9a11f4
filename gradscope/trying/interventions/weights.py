"""Weights that begin with other values."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim import Optimizer

from gradscope.trying.interventions.base import Intervention, NumberOf


class StartWeights(Intervention):
    """After the optimizer's first step, some of its parameters are drawn anew, from a normal distribution.

    `indices` count its parameters, in the order of its groups; `stds` is one standard deviation for each. What the
    optimizer has noted of their gradients is forgotten. The script's random numbers are those it would have drawn.
    """

    def __init__(self, number: int | None, number_of: NumberOf, indices: Sequence[int], stds: Sequence[float]) -> None:
        super().__init__(number, number_of)
        self._indices, self._stds = indices, stds

    def after_step(self, optimizer: Optimizer) -> None:
        if self.applied or not self.concerns(optimizer):
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for index, std in zip(self._indices, self._stds):
                parameter = parameters[index]
                drawn = torch.randn(parameter.shape, generator=generator) * std
                parameter.copy_(drawn)
                optimizer.state.pop(parameter, None)
                self.applied += 1
