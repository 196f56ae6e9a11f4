"""Which advices of a run can be tried, and in what order. No torch."""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
        if self.action == "set-lr":
            if len(values) == 1:
                return f"lr {show(float(values[0]['to']))}"
            return "lr " + ", ".join(f"{show(float(v['to']))} (group {v.get('group')})" for v in values)
        if self.action == "clip-grad-norm":
            return f"gradients clipped to {show(float(values[0]['max_norm']))}"
        return "zero_grad() before backward"

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
    values = advice.values
    if advice.action == "insert-zero-grad":
        return True
    if advice.action == "clip-grad-norm":
        return _positive(values, "max_norm")
    return advice.action == "set-lr" and _positive(values, "to")


def _positive(values: Mapping[str, Any], name: str) -> bool:
    try:
        return 0 < float(values[name]) < math.inf
    except (KeyError, TypeError, ValueError):
        return False


def _key(advice: Advice) -> tuple[Any, ...]:
    return (advice.action, *(advice.values.get(name) for name in ("optimizer", "group", "to", "max_norm")))
