"""Which advices of a run can be tried, and in what order. No torch."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradscope.findings import Advice, Finding, show

MOST = 4  # treatments, causes first: each costs a whole run


@dataclass(frozen=True)
class Treatment:
    """What one finding advises, as one change: its advices of one action (a learning rate for each group, say)."""

    finding: Finding
    advice: tuple[Advice, ...]

    @property
    def action(self) -> str:
        return str(self.advice[0].action)

    @property
    def label(self) -> str:
        """What is different, in a few words: "lr 0.001"."""
        values = [advice.values for advice in self.advice]
        if self.action == "set-lr" and len(values) > 1:
            return "lr " + ", ".join(f"{show(float(v['to']))} (group {v.get('group')})" for v in values)
        return _CHANGES[self.action].label(values[0])

    @property
    def key(self) -> frozenset[Any]:
        """The same for treatments that are the same change."""
        return frozenset(_key(advice) for advice in self.advice)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The interventions, as plain JSON values."""
        return [{"action": advice.action, **advice.values} for advice in self.advice]


def choose(findings: Sequence[Finding], most: int = MOST) -> tuple[Treatment, ...]:
    """The treatments of the root causes among the errors and warnings, each once, at most so many."""
    chosen: dict[Any, Treatment] = {}
    for finding in roots(findings):
        for action in dict.fromkeys(a.action for a in finding.advice):
            advice = tuple(a for a in finding.advice if a.action == action and _can_be_tried(a))
            if advice:
                treatment = Treatment(finding, advice)
                chosen.setdefault(treatment.key, treatment)
    return tuple(chosen.values())[:most]


def roots(findings: Iterable[Finding]) -> list[Finding]:
    """Errors and warnings that are no consequence of another one."""
    return [f for f in findings if f.caused_by is None and f.severity != "info"]


def _can_be_tried(advice: Advice) -> bool:
    change = _CHANGES.get(str(advice.action))
    return change is not None and all(_positive(advice.values, name) for name in change.numbers)


def _positive(values: Mapping[str, Any], name: str) -> bool:
    try:
        return 0 < float(values[name]) < math.inf
    except (KeyError, TypeError, ValueError):
        return False


def _key(advice: Advice) -> tuple[Any, ...]:
    return (advice.action, *(advice.values.get(name) for name in ("optimizer", "group", "to", "max_norm")))


@dataclass(frozen=True)
class _Change:
    """What an action is called, given its values, and which of them must be positive numbers."""

    label: Callable[[Mapping[str, Any]], str]
    numbers: tuple[str, ...] = ()


def _scale(values: Mapping[str, Any]) -> str:
    """ "inputs x / 255", "inputs (x - 3.2) / 0.5" """
    mean, std = (float(values[name][0]) for name in ("mean", "std"))
    return f"inputs x / {show(std)}" if not mean else f"inputs (x - {show(mean)}) / {show(std)}"


_TAKEN = {
    "logits": "log_softmax before the loss",
    "softmax": "no softmax before the loss",
    "sigmoid": "no sigmoid before the loss",
}

_CHANGES: Mapping[str, _Change] = {
    "set-lr": _Change(lambda v: f"lr {show(float(v['to']))}", ("to",)),
    "hold-lr": _Change(lambda v: f"lr held at {show(float(v['to']))}", ("to",)),
    "set-weight-decay": _Change(lambda v: f"weight_decay {show(float(v['to']))}", ("to",)),
    "set-eps": _Change(lambda v: f"eps {show(float(v['to']))}", ("to",)),
    "set-maximize": _Change(lambda v: "maximize=False"),
    "clip-grad-norm": _Change(lambda v: f"gradients clipped to {show(float(v['max_norm']))}", ("max_norm",)),
    "unscale-before-clip": _Change(lambda v: "scaler.unscale_() before the clipping"),
    "insert-zero-grad": _Change(lambda v: "zero_grad() before backward"),
    "move-zero-grad": _Change(lambda v: "zero_grad() before backward"),
    "insert-step": _Change(lambda v: f"optimizer.step() after line {v['line']}", ("line",)),
    "add-parameters": _Change(lambda v: f"{v['count']} more parameters in the optimizer", ("count",)),
    "start-weights": _Change(lambda v: f"weights drawn anew, of a std of {show(float(max(v['stds'])))}"),
    "shuffle-data": _Change(lambda v: "the data shuffled"),
    "scale-inputs": _Change(lambda v: "inputs of mean 0 and std 1" if len(v["std"]) != 1 else _scale(v), ("features",)),
    "take-logits": _Change(lambda v: _TAKEN[v["output"]]),
}
