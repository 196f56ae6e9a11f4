"""Errors that users meet, one clear sentence and an exit code each; and the categories of the warnings they get."""
from __future__ import annotations


class GradscopeError(Exception):
    """Something the user asked for cannot be done. `str(error)` is one sentence; `exit_code` is for the shell."""

    exit_code = 1


class UsageError(GradscopeError, ValueError):
    """The call itself is off: an unknown code, a missing script, an argument of the wrong kind."""

    exit_code = 2


class DamagedRecord(GradscopeError):
    """A run folder that holds no readable gradscope record."""


class GradscopeWarning(UserWarning):
    """A finding of a watched loop, told while it runs.

    One category a family: `warnings.filterwarnings("error", category=gradscope.LossWarning)`.
    """


class LoopWarning(GradscopeWarning):
    """GS1: how the calls of the loop are wired."""


class LossWarning(GradscopeWarning):
    """GS2: what the loss does."""


class LearningRateWarning(GradscopeWarning):
    """GS3: the learning rate, its schedule, weight decay."""


class GradientWarning(GradscopeWarning):
    """GS4: gradients."""


class ModelWarning(GradscopeWarning):
    """GS5: activations, initialisation, layers."""


class DataWarning(GradscopeWarning):
    """GS6: batches."""


class NumericsWarning(GradscopeWarning):
    """GS7: precision."""


class DistributedWarning(GradscopeWarning):
    """GS8: many processes."""


class GeneralizationWarning(GradscopeWarning):
    """GS9: validation metrics."""


FAMILIES: dict[str, type[GradscopeWarning]] = {
    "GS1": LoopWarning,
    "GS2": LossWarning,
    "GS3": LearningRateWarning,
    "GS4": GradientWarning,
    "GS5": ModelWarning,
    "GS6": DataWarning,
    "GS7": NumericsWarning,
    "GS8": DistributedWarning,
    "GS9": GeneralizationWarning,
}
