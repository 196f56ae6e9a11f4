"""Advices applied to a running loop from outside, without a change to the script.

Optimizers go by the record's numbers (the order of their first sight in the loop), which a second run of the same
script gives again. What the script itself reads between its calls stays its own: a learning rate is another one inside
of the optimizer's step only.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from gradscope.trying.interventions.base import Intervention, NumberOf
from gradscope.trying.interventions.clearing import InsertZeroGrad, MoveZeroGrad
from gradscope.trying.interventions.clipping import ChangeClip, ClipGradNorm, UnscaleBeforeClip
from gradscope.trying.interventions.data import ScaleInputs, ShuffleData
from gradscope.trying.interventions.groups import SetLr, SetOption
from gradscope.trying.interventions.losses import TakeLogits
from gradscope.trying.interventions.stepping import AddParameters, InsertStep
from gradscope.trying.interventions.weights import StartWeights

__all__ = ["Intervention", "make"]


def make(
    steps: Sequence[Mapping[str, Any]], number_of: NumberOf, known: Callable[[], Iterable[Optimizer]] = tuple
) -> list[Intervention]:
    """The interventions of a treatment (see `Treatment.steps`). `known`: all optimizers that there are by then."""
    return [_make(step, step.get("optimizer"), number_of, known) for step in steps]


def _make(
    step: Mapping[str, Any], number: int | None, number_of: NumberOf, known: Callable[[], Iterable[Optimizer]]
) -> Intervention:
    group, action = step.get("group"), step["action"]
    if action == "set-lr":
        return SetLr(number, number_of, float(step["to"]), _number(step.get("from")), group)
    if action == "hold-lr":
        return SetLr(number, number_of, float(step["to"]))
    if action in ("set-weight-decay", "set-eps", "set-maximize"):
        return SetOption(number, number_of, action[4:].replace("-", "_"), step["to"], group)
    if action == "clip-grad-norm" and _number(step.get("from")) is not None:
        return ChangeClip(number, number_of, float(step["from"]), float(step["max_norm"]))
    if action == "clip-grad-norm":
        return ClipGradNorm(number, number_of, float(step["max_norm"]), group)
    if action == "unscale-before-clip":
        return UnscaleBeforeClip(number, number_of, known)
    if action == "insert-zero-grad":
        return InsertZeroGrad(number, number_of)
    if action == "move-zero-grad":
        return MoveZeroGrad(number, number_of)
    if action == "insert-step":
        return InsertStep(number, number_of, known, int(step["line"]))
    if action == "add-parameters":
        return AddParameters(number, number_of, known, int(step["count"]))
    if action == "start-weights":
        return StartWeights(number, number_of, list(step["indices"]), list(step["stds"]))
    if action == "shuffle-data":
        return ShuffleData(number, number_of)
    if action == "scale-inputs":
        return ScaleInputs(number, number_of, int(step["features"]), step["mean"], step["std"])
    if action == "take-logits":
        return TakeLogits(number, number_of, str(step["output"]), str(step["loss"]))
    raise ValueError(f"unknown action {action!r}")


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
