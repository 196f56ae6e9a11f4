"""Data that come in another order, or in other units."""
from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from gradscope.hooks.patching import Patch
from gradscope.trying.interventions.base import Intervention, NumberOf

_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class ShuffleData(Intervention):
    """DataLoaders that give their samples in order draw them at random, as with `shuffle=True`.

    Those that are iterated over without gradients (a validation's) stay as they are.
    """

    def patches(self) -> list[Patch]:
        return [Patch(DataLoader, "__iter__", self._replaced)]

    def _replaced(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def iterate(loader: Any) -> Any:
            if torch.is_grad_enabled():
                self.attempt(self._shuffle, loader)
            return original(loader)

        return iterate

    def _shuffle(self, loader: Any) -> None:
        sampler = loader.batch_sampler
        if type(sampler) is BatchSampler and type(sampler.sampler) is SequentialSampler:
            sampler.sampler = RandomSampler(loader.dataset, generator=loader.generator)
            self.applied += 1


class ScaleInputs(Intervention):
    """What goes into a first layer of so many features is taken minus `mean`, by `std` # (1,) or (features,).

    Without them, those of its first batch. A first layer is one that is given data in training: a tensor that no
    operation on parameters has made.
    """

    def __init__(
        self, number: int | None, number_of: NumberOf, features: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(number, number_of)
        self._features, self._mean, self._std = features, mean, std
        self._by_layer: weakref.WeakKeyDictionary[nn.Module, tuple[torch.Tensor, torch.Tensor]] = (
            weakref.WeakKeyDictionary()
        )

    def patches(self) -> list[Patch]:
        return [Patch(kind, "forward", self._replaced) for kind in _LAYERS]

    def _replaced(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def forward(layer: nn.Module, given: Any, *args: Any, **kwargs: Any) -> Any:
            instead = self.attempt(self._scaled, layer, given)
            return original(layer, given if instead is None else instead, *args, **kwargs)

        return forward

    def _scaled(self, layer: nn.Module, given: torch.Tensor) -> torch.Tensor | None:
        if layer not in self._by_layer:
            weight = layer.weight
            data = torch.is_grad_enabled() and given.grad_fn is None and not given.requires_grad
            if not (data and isinstance(weight, torch.Tensor) and weight.shape[1] == self._features):
                return None
            self._by_layer[layer] = self._numbers(layer, given)
        mean, std = self._by_layer[layer]
        self.applied += 1
        return (given - mean) / std

    def _numbers(self, layer: nn.Module, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What to take away, and what to divide by, of a shape that broadcasts."""
        places = (-1,) if isinstance(layer, nn.Linear) else (-1, *[1] * (layer.weight.dim() - 2))
        if self._mean:
            numbers = (torch.tensor(list(n), dtype=given.dtype, device=given.device) for n in (self._mean, self._std))
        else:
            dims = [d for d in range(given.dim()) if d != given.dim() - len(places)]
            numbers = (n for n in (given.mean(dims), given.std(dims, correction=0).clamp_min(1e-8)))
        mean, std = (n.reshape(places) for n in numbers)
        return mean, std
