"""GS101 missing-zero-grad."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.events import Site
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.record import OptimizerRecord, Record, Wiring
from gradscope.rules.base import Rule


@dataclass(frozen=True)
class MissingZeroGrad(Rule):
    """Gradients are never cleared: each step uses the sum of all gradients so far.

    What it finds
        A backward added to a gradient that a step of the same optimizer had used already (and that was not zero), and
        that sum reached a step of this optimizer.
    Why it matters
        `backward()` adds to `.grad`, it does not replace it. Without a clear the step follows the sum of all past
        gradients: like a momentum of 1 that never forgets. The norm grows with the steps, and the loss soon with it.
    Sick
        for images, targets in loader:
            loss = loss_fn(model(images), targets)
            loss.backward()
            optimizer.step()
    Healed
        for images, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(images), targets)
            loss.backward()
            optimizer.step()
    What to do
        Call `optimizer.zero_grad()` once per step, anywhere between one step and the next backward.
    Silent on
        Accumulation over several backwards between clears; gradients that a generator's loss leaves in the
        discriminator and that are cleared before its own backward; two losses with two backwards; `p.grad = None`,
        `p.grad.data.zero_()`, `model.zero_grad()`; gradients assigned by hand; `backward(create_graph=True)`.
    Known at
        The second step of the optimizer. Thresholds: {thresholds}.
    References
        https://github.com/pytorch/pytorch/issues/47175 (users ask for this warning)
    """

    code = "GS101"
    name = "missing-zero-grad"
    severity = "error"
    message = "{when} used gradients that still contain {parts}{growth}"
    explains = ("GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS301", "GS401", "GS402", "GS405", "GS703")

    def check(self, record: Record) -> Iterator[Finding]:
        for optimizer in record.optimizers:
            old = optimizer.counters["old"]
            if old.any():
                yield self._finding(record, optimizer, old > 0)

    def _finding(self, record: Record, optimizer: OptimizerRecord, which: np.ndarray) -> Finding:
        first = int(optimizer.counters["old_first"][which].min())
        last = int(optimizer.counters["old_last"].max())
        sick = (optimizer.wiring & Wiring.OLD_INSIDE) != 0
        since = optimizer.rows >= first
        if sick[since].all() and sick.sum() > 1:
            when = f"every step since {first}"
        else:
            when = f"{sick.sum()} of {since.sum()} steps since {first}" if sick.sum() > 1 else f"step {first}"
        at = int(np.argmax(sick)) if sick.any() else int(np.argmax(since))
        site = record.site(int(optimizer.scalars["backward_site"][at]))
        names = optimizer.names(which)
        partly = not which.all()
        norms = optimizer.scalars["grad_norm"]
        known = np.flatnonzero(np.isfinite(norms) & (norms > 0))
        growth = ""
        evidence: dict[str, float] = {"steps_affected": int(sick.sum()), "parameters_affected": len(names)}
        begun = _begun(optimizer, known, first)
        if len(known) and norms[known[-1]] > norms[begun]:
            start, end = float(norms[begun]), float(norms[known[-1]])
            span = int(optimizer.rows[known[-1]] - optimizer.rows[begun])
            growth = f": |g| grew {start:.3g} -> {end:.3g} in {span} step{'s' * (span > 1)}"
            evidence.update(grad_norm_first=start, grad_norm_last=end)
        parts = "all the earlier ones" + (f" in {list_names(names)}" if partly else "")
        return self.finding(
            (first, last),
            evidence={"when": when, "parts": parts, "growth": growth, **evidence},
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            parameters=names,
            where=site,
            label=_label(optimizer, first),
            advice=(_advice(optimizer, site, partly),),
        )


def _begun(optimizer: OptimizerRecord, known: np.ndarray, first: int) -> int:
    """Of the rows whose norm is known, the one nearest to the last sound step; of two as near the earlier."""
    rows = optimizer.rows
    sound = rows[max(0, int(np.searchsorted(rows, first)) - 1)]
    return int(known[np.argmin(np.abs(rows[known] - sound))]) if len(known) else 0


def _label(optimizer: OptimizerRecord, first: int) -> str:
    earlier = optimizer.rows[optimizer.rows < first]
    return f"adds to gradients that step {earlier[-1]} has already used" if len(earlier) else ""


def _advice(optimizer: OptimizerRecord, site: Site | None, partly: bool) -> Advice:
    place = f"before line {site.line}" if site else "before backward()"
    if partly:
        text = f"clear these parameters too, {place}: {optimizer.variable}.zero_grad() clears all that it holds"
    else:
        text = f"call {optimizer.variable}.zero_grad() {place}"
    values = {"optimizer": optimizer.number}
    return Advice(text, "insert-zero-grad", {**values, "file": site.file, "line": site.line} if site else values)
