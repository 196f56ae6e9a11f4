"""GS703 scaler-skips-steps."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from gradscope.events import Site
from gradscope.facts.fact import newest_of
from gradscope.facts.not_finite import LossOrigin
from gradscope.facts.numerics import LossScaling
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record
from gradscope.rules.base import Rule
from gradscope.rules.origins import began, help_for

_ONCE = "make the GradScaler once, before the loop: what it has learned of the scale is lost with it"
_DROP = "repair or drop such samples before training: `keep = torch.isfinite(x).flatten(1).all(1)`"
_NOT_FINITE = (
    "no scale helps against NaN: look for what makes it (a log or a root of 0, a division by 0, a mean over nothing); "
    "`gradscope run --replay` names the operation"
)


@dataclass(frozen=True)
class ScalerSkipsSteps(Rule):
    """GradScaler finds gradients that are not finite again and again, and leaves out the steps.

    What it finds
        `lately` of the newest 128 steps skipped, the first ones left out; or a scale that has been halved down to
        `collapsed` and less: only NaN and Inf overflow there. Why: losses that are no numbers; a scaler that is made
        anew, and begins again at 65536; a scale that doubles every few steps; one that does not fall.
    Why it matters
        Batches are read, and nothing is learned from them. A scale that has collapsed flushes the gradients of the
        batches that are well, too: in the end nothing is trained any more, and no error says so.
    Sick
        for batch in loader:
            scaler = torch.amp.GradScaler("cuda")
            ...
    Healed
        scaler = torch.amp.GradScaler("cuda")
        for batch in loader:
            ...
    What to do
        Make one scaler before the loop; leave its settings as they are; call `scaler.update()` after each step. Against
        NaN, which no scale cures, mend the operation that is named.
    Silent on
        The first skips of a scaler, until its scale fits; one after each growth (every 2000 steps; every ten is below
        the threshold, too); single bad batches; a scaler for each of several models.
    Known at
        `least` skipped steps of a scaler that is made anew, `lately` of others; `in_a_row` where the scale does not
        fall. Thresholds: {thresholds}.
    References
        https://pytorch.org/docs/stable/amp.html#torch.amp.GradScaler (growth_interval 2000, backoff_factor 0.5; "if the
        scale falls below 1 ... something is likely wrong"); Micikevicius et al., Mixed precision training, ICLR 2018.
    """

    code = "GS703"
    name = "scaler-skips-steps"
    severity = "warning"
    message = "GradScaler skipped {skipped} of {asked} steps{lately}: {why}"
    needs = ("LossScalingProbe",)
    explains = ("GS105", "GS203", "GS204", "GS205", "GS206", "GS302", "GS303", "GS304", "GS701")

    least: int = 8
    share: float = 0.125  # of all steps, where the scaler is made anew
    anew: int = 3  # scalers
    lately: int = 16
    collapsed: float = 2.0**-10
    still: int = 4  # skips lately, or in a row, of a scale that has collapsed
    in_a_row: int = 16  # though the scale stays
    interval: int = 8  # steps

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in newest_of(record.facts.of(LossScaling)):
            why = self._reason(fact)
            if why:
                yield self._finding(record, fact, why)

    def _reason(self, fact: LossScaling) -> str:
        """What is the matter; "" where nothing is."""
        asked = fact.skipped + fact.steps
        if fact.scalers >= self.anew and fact.skipped >= max(self.least, self.share * asked):
            return "anew"
        known = fact.first_scale > 0  # halved often enough, a scale is 0
        if known and fact.scale <= self.collapsed and max(fact.lately, fact.streak) >= self.still:
            return "not-finite"
        if fact.lately >= self.lately:
            growing = 0 < fact.interval <= self.interval and 2 * fact.not_finite < fact.skipped
            return "grows" if growing else "not-finite"
        stays = fact.scale > fact.first_scale * 0.5 ** (fact.streak / 4)
        return "stays" if fact.streak >= self.in_a_row and known and stays else ""

    def _finding(self, record: Record, fact: LossScaling, reason: str) -> Finding:
        why, cure = self._words(record, fact, reason)
        streak = fact.streak >= self.in_a_row or not fact.lately
        since = fact.since if streak else fact.lately_since
        lately = f", the newest {fact.streak} in a row" if streak else f", {fact.lately} of the newest {fact.window}"
        where: Site = fact.made if reason == "anew" and fact.made is not None else fact.site
        return self.finding(
            (0 if reason == "anew" else since, fact.row),
            evidence={
                "skipped": fact.skipped,
                "asked": fact.skipped + fact.steps,
                "lately": lately if fact.streak > 1 or not streak else "",
                "why": why,
                "reason": reason,
                "scale": fact.scale,
                "first_scale": fact.first_scale,
                "not_finite": fact.not_finite,
                "scalers": fact.scalers,
            },
            stream=record.stream_of(fact.optimizer),
            optimizer=fact.optimizer,
            where=where,
            label="made anew again and again" if where is fact.made else "skipped, as gradients are not finite",
            advice=(Advice(cure),),
        )

    def _words(self, record: Record, fact: LossScaling, reason: str) -> tuple[str, str]:
        if reason == "anew":
            return f"{fact.scalers} scalers each began at {fact.first_scale:g}, too much for these gradients", _ONCE
        if reason == "grows":
            why = f"the scale doubles after {fact.interval} steps, and is too large again"
            return why, f"leave growth_interval at its default, 2000 (it is {fact.interval})"
        if reason == "stays":
            why = f"the scale is still {fact.scale:g}, too much for these gradients"
            return why, "let scaler.update() lower the scale: no new_scale, and backoff_factor at its default, 0.5"
        origin = _origin(record, fact) if fact.not_finite else None
        scale = f", whatever the scale: it has come down to {fact.scale:.3g}" if fact.scale < 1 else ""
        what = f"the loss was no number in {fact.not_finite} of them" if fact.not_finite else "gradients are NaN or Inf"
        known = "" if origin is None else _DROP if origin.kind == "constant" else help_for(origin.operations)
        return f"{what}{scale}{began(origin)}", known or _NOT_FINITE


def _origin(record: Record, fact: LossScaling) -> LossOrigin | None:
    """Where the NaN of some loss of this optimizer was born."""
    for origin in newest_of(record.facts.of(LossOrigin)):
        if isinstance(origin, LossOrigin) and (not origin.optimizers or fact.optimizer in origin.optimizers):
            return origin
    return None
