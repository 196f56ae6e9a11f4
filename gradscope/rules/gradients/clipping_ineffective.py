"""GS406 clipping-ineffective."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np

from gradscope.events import Point, Site
from gradscope.facts.gradients import Clipping
from gradscope.findings import Advice, Finding, show
from gradscope.record.record import OptimizerRecord, Record
from gradscope.rules.base import Rule
from gradscope.rules.norms import Floats, clips, norms

_WHY = {
    "before-backward": "it runs before backward(), when there is no gradient to cut",
    "after-step": "it runs after {step}.step(), on gradients that the step has used already",
    "other-parameters": "none of the {parameters} parameters that it is given has a gradient or is in an optimizer",
    "other-optimizer": "it clips parameters of {own}, and {step}.step() comes next",
    "used-up": "it is given an iterator that has nothing left to give, and so no parameters at all",
}
_WHAT_TO_DO = {
    "other-parameters": "give it the parameters of the model that is trained, as it is now",
    "other-optimizer": "give it the parameters of {step}",
    "used-up": "give it the parameters anew: model.parameters() can be read only once, a list of them at every step",
}


@dataclass(frozen=True)
class ClippingIneffective(Rule):
    """Gradients are clipped where it does nothing: the steps use them as they were.

    What it finds
        A line with `clip_grad_norm_` or `clip_grad_value_` of which no call has changed what a step used, in `steps`
        steps: it runs before backward or after step; it is given parameters that are not trained (a copy, a teacher, a
        model that was made anew), another optimizer's, or an iterator that is used up. A warning where the steps used
        gradients that it would have cut, in `share` of the rows that were measured and `rows` at least, or in all of
        them, `grew` times as large at the last, before the loss was no number any more; else info.
    Why it matters
        The run has no protection although the script says so: one batch with a large gradient throws the weights off,
        and clipping, which would have prevented it, is the last thing that one looks at.
    Sick
        optimizer.zero_grad()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        loss.backward()
        optimizer.step()
    Healed
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    What to do
        Clip between the last backward and the step, the parameters that the step changes.
    Silent on
        Lines that act, be it in one step; max_norm=inf (a way to read the norm); a max_norm that no gradient comes up
        to (info); accumulation with one clip or one for each batch; several clips for several optimizers; frozen
        parts of the model; clips in another line that act on the same optimizer.
    Known at
        `steps` steps. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping (where it belongs). `grew`: norms of
        neighbouring batches differ less, unless the run takes off; a loss broken by its data does not show it.
    """

    code = "GS406"
    name = "clipping-ineffective"
    severity = "warning"
    message = "clipping at {limit} changed nothing in any of {idle} steps looked at: {why}{harm}"
    needs = ("ClippingProbe",)
    explains = ("GS201", "GS202", "GS203", "GS204", "GS205", "GS206", "GS301", "GS401", "GS402")

    steps: int = 5
    share: float = 0.05
    rows: int = 3
    grew: float = 10.0

    def check(self, record: Record) -> Iterator[Finding]:
        facts = clips(record)
        known = {o.number: o for o in record.optimizers}
        for fact in facts:
            reason = self._reason(fact)
            optimizer = known.get(fact.ahead if reason in _WHAT_TO_DO else fact.optimizer)
            if reason and optimizer is not None and not _acts(facts, optimizer.number):
                own = known.get(fact.optimizer)
                yield self._finding(record, fact, reason, optimizer, own)

    def _reason(self, fact: Clipping) -> str:
        """Why the line does nothing; "" where it does something, or too little is known."""
        if fact.acted or fact.idle < self.steps or not fact.limit < math.inf:
            return ""
        if fact.optimizer < 0:
            if fact.none == fact.calls:
                return "used-up" if fact.used_up == fact.calls else ""
            return "other-parameters" if fact.empty == fact.calls else ""
        if fact.empty + fact.spent == fact.calls:
            return "before-backward" if fact.empty >= fact.spent else "after-step"
        return "other-optimizer" if fact.times >= max(self.steps, fact.idle) else ""

    def _finding(
        self, record: Record, fact: Clipping, reason: str, optimizer: OptimizerRecord, own: OptimizerRecord | None
    ) -> Finding:
        used = _used(optimizer, fact)
        cut, measured, largest = int((used > 1.01 * fact.limit).sum()), len(used), float(used.max(initial=0.0))
        harmful = cut >= max(self.rows, self.share * measured) or (
            cut == measured >= 2 and used[-1] > self.grew * used[0] and _broke(record, optimizer)
        )
        harm = f"; {cut} of {measured} steps measured used gradients beyond it, up to {show(largest)}" if cut else ""
        words = {"step": optimizer.variable, "own": own.variable if own else "", "parameters": fact.parameters}
        return self.finding(
            (int(optimizer.rows[0]), int(optimizer.rows[-1])),
            severity="warning" if harmful else "info",
            evidence={
                "limit": fact.limit,
                "idle": fact.idle,
                "why": _WHY[reason].format(**words),
                "harm": harm,
                "reason": reason,
                "would_cut": cut,
                "measured": measured,
                "largest": largest,
            },
            stream=record.stream_of(optimizer.number),
            optimizer=optimizer.number,
            where=fact.site,
            label="this does nothing",
            advice=(_advice(record, fact, reason, optimizer),),
        )


def _used(optimizer: OptimizerRecord, fact: Clipping) -> Floats:
    """What the clip would have compared with its limit, of the gradients of measured steps # (measured,); finite ones.

    By value: nearly so, three times the largest root mean square of a gradient.
    """
    used = norms(optimizer).used
    if fact.kind == "value" or fact.norm_type == math.inf:
        sizes = np.array([max(1, math.prod(p.shape)) for p in optimizer.parameters], np.float64)
        per = np.nan_to_num(optimizer.grad_norm(Point.BEFORE_STEP)) / np.sqrt(sizes)
        used = 3 * per.max(axis=1, initial=0.0)
    return np.asarray(used[np.isfinite(used)])


def _broke(record: Record, optimizer: OptimizerRecord) -> bool:
    """Whether the loss was a number at first, and is none any more."""
    stream = record.stream(record.stream_of(optimizer.number))
    if stream is None or not len(stream.loss):
        return False
    return bool(np.isfinite(stream.loss[0]) and not np.isfinite(stream.loss[-1]))


def _acts(facts: Sequence[Clipping], optimizer: int) -> bool:
    """Whether some line clips what this optimizer's steps use."""
    return any(fact.optimizer == optimizer and fact.acted and fact.limit < math.inf for fact in facts)


def _advice(record: Record, fact: Clipping, reason: str, optimizer: OptimizerRecord) -> Advice:
    values: dict[str, object] = {"optimizer": optimizer.number, "max_norm": fact.limit}
    action = "clip-grad-norm" if fact.kind == "norm" and fact.norm_type == 2 else None
    if reason in _WHAT_TO_DO:
        return Advice(_WHAT_TO_DO[reason].format(step=optimizer.variable), action, values if action else {})
    backward, step = (record.site(int(optimizer.scalars[n][-1])) for n in ("backward_site", "step_site"))
    text = f"move it between {_place('backward()', backward)} and {_place(f'{optimizer.variable}.step()', step)}"
    return Advice(text, action, values if action else {})


def _place(call: str, site: Site | None) -> str:
    return f"{call} (line {site.line})" if site else call
