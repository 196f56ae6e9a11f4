"""GS103 parameter-not-optimized."""
from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np

from gradscope.facts.fact import FactEntry
from gradscope.facts.loop import UnownedParameter
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule

_HOW = {
    "stale": "the optimizer holds parameters of the same shapes that no loss reaches: those of an older copy",
    "another": "the optimizer holds the parameters of another model, which no loss reaches",
    "hidden": "they stand in a plain Python list, tuple or dict, where parameters() does not find them",
    "forgotten": "they are not in the optimizer",
    "backbone": "they stand before all that is trained, as a backbone does",
    "apart": "none of their model's parameters is in an optimizer",
}
_CURE = {
    "stale": "build the optimizer after the model is final (after copying, moving or replacing layers)",
    "another": "pass the parameters of the model that is trained to the optimizer",
    "hidden": "keep the layers in nn.ModuleList (or nn.ModuleDict), then pass model.parameters() to the optimizer",
    "forgotten": "pass them to the optimizer: {name}.parameters(), or all of model.parameters()",
    "backbone": "train them too, or freeze them with requires_grad_(False): their gradients cost time",
    "apart": "train them too, or freeze them with requires_grad_(False): their gradients cost time",
}


@dataclass(frozen=True)
class ParameterNotOptimized(Rule):
    """A loss reaches parameters that no optimizer updates.

    What it finds
        A leaf that receives gradients and that no optimizer owns: layers in a plain Python list, a forgotten group; or
        an optimizer whose parameters no loss reaches, while the model's own are in no optimizer (it was built before
        the model was copied, moved or given a new head).
    Why it matters
        That part of the model stays as it was initialised, and nothing complains. A stale optimizer trains nothing at
        all: weeks have been lost to it.
    Sick
        self.layers = [nn.Linear(64, 64) for _ in range(4)]
    Healed
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
    What to do
        Pass the parameters to the optimizer; use nn.ModuleList; build the optimizer after the model is final.
    Silent on
        Target networks; a discriminator's gradients during the generator's step; inputs with requires_grad; parameters
        that the loop updates by hand. Info where a loaded or trained backbone stays out on purpose (freeze it: its
        gradients cost time).
    Known at
        The second step; a backbone whose weights are still the random ones it was built with: 20 steps, or the end of
        the run. Thresholds: {thresholds}.
    References
        https://github.com/huggingface/accelerate/issues/2665 (a flat loss from stale parameters)
    """

    code = "GS103"
    name = "parameter-not-optimized"
    severity = "warning"
    message = "the loss reaches {names}, and no optimizer updates {it}: {how}"
    needs = ("UnownedParametersProbe",)
    explains = ("GS102", "GS106", "GS107", "GS204", "GS302")

    sightings: int = 2
    rows_for_backbone: int = 20
    adapted_share: float = 0.3

    def check(self, record: Record) -> Iterator[Finding]:
        entries = [e for e in record.facts.of(UnownedParameter) if _open(e.newest)]
        if not entries or not record.optimizers:
            return
        stale = _stale(record.optimizers, [_fact(e) for e in entries])
        if stale is not None:
            optimizer, how = stale
            yield self._finding(record, optimizer, entries, how, "warning")
            return
        entries = [e for e in entries if e.count >= self.sightings or record.meta.ended]
        for how, severity, found in self._kinds(record, entries):
            first = min(e.first for e in found)
            nearest = min(record.optimizers, key=lambda o: int(np.abs(o.rows - first).min()))
            yield self._finding(record, nearest, found, how, severity)

    def _kinds(self, record: Record, entries: Sequence[FactEntry]) -> Iterator[tuple[str, str, list[FactEntry]]]:
        """What speaks loudest first; only one kind is told."""
        patient = record.meta.ended or max(len(o.rows) for o in record.optimizers) >= self.rows_for_backbone
        hidden = [e for e in entries if _fact(e).place == "hidden"]
        registered = [e for e in entries if _fact(e).place == "registered"]
        forgotten = [e for e in registered if not _fact(e).upstream]
        behind = list(entries)
        raw = [e for e in behind if _fact(e).untouched and not _fact(e).aside]
        if hidden and not all(_fact(e).aside for e in hidden):
            yield "hidden", "warning", hidden
        elif forgotten and not self._adapted(record, registered):
            yield "forgotten", "warning", registered
        elif raw and len(raw) * 2 >= len(behind) and patient:
            yield "forgotten", "warning", behind
        elif behind and patient:
            apart = all(_fact(e).place != "registered" for e in behind)
            yield "apart" if apart else "backbone", "info", behind

    def _adapted(self, record: Record, entries: Sequence[FactEntry]) -> bool:
        """A loaded model of which only a small part is trained: adapters, biases, a head in the middle."""
        if any(_fact(e).untouched for e in entries):
            return False
        out = sum(math.prod(_fact(e).shape) for e in entries)
        trained = sum(math.prod(p.shape) for o in record.optimizers for p in o.parameters)
        return trained <= self.adapted_share * (out + trained)

    def _finding(
        self, record: Record, optimizer: OptimizerRecord, entries: Sequence[FactEntry], how: str, severity: str
    ) -> Finding:
        names = tuple(_fact(e).name for e in entries)
        owned = [p.name for o in record.optimizers for p in o.parameters]
        return self.finding(
            (min(e.first for e in entries), max(int(optimizer.rows[-1]), max(e.last for e in entries))),
            severity=severity,
            evidence={
                "names": list_names(names),
                "it": "it" if len(names) == 1 else "them",
                "how": _HOW[how],
                "kind": how,
                "count": len(names),
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            where=record.site(int(optimizer.scalars["step_site"][-1])),
            advice=(
                Advice(
                    _CURE[how].format(name=_module(names[0], owned)),
                    "add-parameters",
                    {"optimizer": optimizer.number, "count": len(names)},
                ),
            ),
        )


def _module(name: str, owned: Sequence[str]) -> str:
    """The outermost module around a parameter of which no optimizer has anything, as code: "encoder", "model[0]"."""
    parts = name.split("=")[0].split(".")[:-1]
    for depth in range(1, len(parts) + 1):
        if not any(other.startswith(".".join(parts[:depth]) + ".") for other in owned):
            parts = parts[:depth]
            break
    code = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts)
    return code.lstrip(".") if not code.startswith("[") and code else f"model{code}"


def _fact(entry: FactEntry) -> UnownedParameter:
    assert isinstance(entry.newest, UnownedParameter)
    return entry.newest


def _open(fact: object) -> bool:
    return isinstance(fact, UnownedParameter) and not fact.moved and fact.owned_since < 0


def _stale(
    optimizers: Sequence[OptimizerRecord], facts: Sequence[UnownedParameter]
) -> tuple[OptimizerRecord, str] | None:
    """The optimizer that holds, unreached, a parameter of the shape of every unowned one: an older copy.

    Or one of which no parameter at all is reached, whatever their shapes: another model's.
    """
    wanted = Counter(f.shape for f in facts)
    for optimizer in optimizers:
        unreached = (optimizer.counters["reached"] == 0) & (optimizer.counters["missing"] > 0)
        unreached &= optimizer.counters["missing"] == optimizer.counters["steps"]
        held = Counter(p.shape for p, hit in zip(optimizer.parameters, np.asarray(unreached)) if hit)
        if held and not wanted - held:
            return optimizer, "stale"
        if held and bool(unreached.all()):
            return optimizer, "another"
    return None
