"""All kinds of facts, by name, and their JSON."""
from __future__ import annotations

import dataclasses
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact
from gradscope.facts.gradients import Clipping
from gradscope.facts.inputs import BatchLooks, InputCode, InputScale
from gradscope.facts.labels import LabelCounts, LabelFit, LabelOrder
from gradscope.facts.learning_rate import Hyperparameters, Schedule, StepGeometry
from gradscope.facts.loop import (
    BackwardFailed,
    DisconnectedLoss,
    EarlySchedulerStep,
    EvalModeSteps,
    GraphAge,
    MissingStep,
    NoGradientReason,
    SkippedStep,
    UnownedParameter,
)
from gradscope.facts.loss import ConstantGuess, LossFunction, LossKind, SharedLoss
from gradscope.facts.model import BatchStatistics, EqualUnits, Firing, GraphUnseen, Saturation, Signal
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.facts.numerics import LossScaling, LostUpdates, Underflow
from gradscope.facts.operations import BlockedGradient, LossBroadcast, NormalizedOutput, StackedLinear
from gradscope.facts.ranks import RanksCompared, RanksDiffer, ShardedNorms
from gradscope.facts.trainers import TrainedBy

KINDS: dict[str, type[Fact]] = {
    kind.__name__: kind
    for kind in (
        NoGradientReason,
        UnownedParameter,
        MissingStep,
        DisconnectedLoss,
        BackwardFailed,
        GraphAge,
        EarlySchedulerStep,
        Schedule,
        EvalModeSteps,
        SkippedStep,
        SharedLoss,
        LossKind,
        LossFunction,
        ConstantGuess,
        Hyperparameters,
        StepGeometry,
        Clipping,
        LossOrigin,
        GradientOrigin,
        NormalizedOutput,
        LossBroadcast,
        StackedLinear,
        BlockedGradient,
        Firing,
        Saturation,
        EqualUnits,
        Signal,
        BatchStatistics,
        GraphUnseen,
        LossScaling,
        LostUpdates,
        Underflow,
        LabelCounts,
        LabelFit,
        LabelOrder,
        InputScale,
        InputCode,
        BatchLooks,
        RanksDiffer,
        RanksCompared,
        TrainedBy,
        ShardedNorms,
    )
}


def to_json(fact: Fact) -> dict[str, Any]:
    """A fact as plain JSON values."""
    return {"fact": type(fact).__name__, **dataclasses.asdict(fact)}


def from_json(data: dict[str, Any]) -> Fact:
    """The inverse of `to_json`. KeyError or TypeError where the data is not of its form."""
    kind = KINDS[data["fact"]]
    values = {k: v for k, v in data.items() if k != "fact"}
    for name in ("site", "grows", "made"):
        if isinstance(values.get(name), dict):
            values[name] = Site(**values[name])
    for name in ("values", "settings"):
        if not isinstance(values.get(name, {}), dict):
            raise TypeError(name)
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**plain)
