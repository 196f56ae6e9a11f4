"""WRAPPER: what trainers (accelerate, Lightning, Fabric) put around the user's own optimizer: no optimizers themselves.

They are instances of `torch.optim.Optimizer` by their class alone, hold the same parameters, and call the inner one.
"""
from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

_LIBRARIES = ("accelerate.", "lightning.", "lightning_fabric.", "pytorch_lightning.")
_NAMES = ("AcceleratedOptimizer", "LightningOptimizer", "_FabricOptimizer")


def is_wrapper(optimizer: Any) -> bool:
    """Whether it is a trainer's wrapper around another optimizer."""
    return any(c.__name__ in _NAMES and c.__module__.startswith(_LIBRARIES) for c in type(optimizer).__mro__)


def unwrapped(optimizer: Any) -> Any:
    """The user's own optimizer inside of the wrappers."""
    for _ in range(8):
        inner = getattr(optimizer, "optimizer", None) if is_wrapper(optimizer) else None
        if not isinstance(inner, Optimizer):
            break
        optimizer = inner
    return optimizer
