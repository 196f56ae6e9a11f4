"""gradscope: the colleague who looks over the shoulder of a PyTorch training loop.

::

    import gradscope

    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer)
    print(scope.report())
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.errors import (
    DataWarning,
    DistributedWarning,
    GeneralizationWarning,
    GradientWarning,
    GradscopeError,
    GradscopeWarning,
    LearningRateWarning,
    LoopWarning,
    LossWarning,
    ModelWarning,
    NumericsWarning,
    UsageError,
)
from gradscope.version import __version__

if TYPE_CHECKING:
    from gradscope.scope import Scope
    from gradscope.watching import pause, unwatch, watch

__all__ = [
    "DataWarning",
    "DistributedWarning",
    "GeneralizationWarning",
    "GradientWarning",
    "GradscopeError",
    "GradscopeWarning",
    "LearningRateWarning",
    "LoopWarning",
    "LossWarning",
    "ModelWarning",
    "NumericsWarning",
    "Scope",
    "UsageError",
    "__version__",
    "pause",
    "unwatch",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Torch is imported with the first use of what needs it: a script under `gradscope run` may set it up before."""
    if name in ("Scope", "pause", "unwatch", "watch"):
        from gradscope import watching

        return getattr(watching, name)
    raise AttributeError(f"module 'gradscope' has no attribute {name!r}")
